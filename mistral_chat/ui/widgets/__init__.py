"""One widget per file. Widgets take values and post messages; they know neither store nor engine."""
