"""Native CPU kernels, their build and their gradients."""
