"""One widget a file. Widgets take values and post messages; they know neither store nor engine."""
