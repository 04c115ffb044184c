//! The practice target and the SMTP sink behind `plimsoll demo` and `plimsoll target`.
