//! How much and when to send it: plans, executors and the pacer.
