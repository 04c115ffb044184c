//! When a scenario is due: cron, zones, DST, overlap, misfire (pure).
