"""quantize: a Hugging Face checkpoint becomes a GGUF file that llama.cpp runs."""

__version__ = "0.1.0"
