//! Load: that it counts what it sends, and says so in its report. No times are asserted.
