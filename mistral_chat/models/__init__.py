"""Models: which can be downloaded, which are installed, which fit; downloads, checksums and GGUF metadata."""
