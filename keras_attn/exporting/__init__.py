"""Networks as files that need neither keras-attn nor Keras."""
