"""llama.cpp through its low-level API. Nothing outside this folder imports llama_cpp."""
