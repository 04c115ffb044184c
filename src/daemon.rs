//! The long-running process: a pure control loop and the tasks that carry out its effects.
