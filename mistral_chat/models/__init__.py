"""Models: the catalog, installed files, memory fit, downloads, checksums and GGUF metadata."""
