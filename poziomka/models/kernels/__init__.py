"""Native C++ kernels for the CPU: build, Python bindings and gradients."""
