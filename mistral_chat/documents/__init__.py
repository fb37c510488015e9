"""Text and passages out of files. Knows no SQL and no engine."""
