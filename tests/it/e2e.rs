//! The whole daemon against servers that nobody here wrote: what it says must be what they saw.

mod notify;
mod sixty_seconds;
