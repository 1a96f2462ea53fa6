"""LoRA adapters: read and written as PEFT and llama.cpp have them, and merged into a model."""
