"""The derivative engine: exact Jacobians and products with them, of any module, many directions at once."""
