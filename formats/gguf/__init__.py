"""GGUF: layout.py names the parts, reader.py trusts nothing, writer.py knows every offset before the first byte."""
