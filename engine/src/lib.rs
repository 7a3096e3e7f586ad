//! 1-bit and ternary (1.58-bit) language models.
