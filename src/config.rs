//! What the user wrote, checked into the immutable model.
