//! The expression grammar, thresholds and verdicts (pure).
