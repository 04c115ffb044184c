//! The page, the API and the probes of life, on a thread of their own.
