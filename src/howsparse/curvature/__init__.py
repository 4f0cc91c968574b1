"""Curvature of a loss: exact products with its second derivatives, and spectra made from them."""
