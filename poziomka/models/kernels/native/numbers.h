// What all kernels are written with: bfloat16 as bits, fp32 to compute in, and PyTorch's own threads.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

namespace {

using torch::stable::Tensor;
using bf16 = uint16_t;

inline float up(bf16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x) << 16); }

inline bf16 down(float x) {  // to the nearest, ties to even; what is not a number stays so
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<bf16>(x != x ? 0x7fc0u : rounded);
}

inline float up(float x) { return x; }

template <class T>
T rounded(float x) {  // to what is stored: bfloat16 or fp32
  if constexpr (std::is_same_v<T, bf16>) return down(x);
  else return x;
}

inline float exponential(float x) {  // relative error below 2e-7 (Cephes' polynomial)
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float n = std::rint(x * 1.44269504f);
  const float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float y = 1.9875691500e-4f;
  y = y * r + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * r * r + r + 1.0f;
  return y * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

template <class T>
T* data(const Tensor& tensor) { return static_cast<T*>(tensor.data_ptr()); }

// Runs over rows, on one thread where the work would not pay for waking others.
template <class F>
void over(int64_t rows, int64_t work_each, const F& act) {
  const int64_t grain = std::max<int64_t>(1, 8192 / std::max<int64_t>(1, work_each));
  torch::stable::parallel_for(0, rows, grain, act);
}

// One head turned: x cos + roll(x, half) sin, or the transpose of that.
inline void turn(const bf16* x, const bf16* cos, const bf16* sin, int64_t width, bool back, bf16* to) {
  const int64_t half = width / 2;
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float a = up(x[i]), b = up(x[i + half]);
    const float first = up(sin[i]), second = up(sin[i + half]);
    to[i] = down(a * up(cos[i]) + b * (back ? second : first));
    to[i + half] = down(b * up(cos[i + half]) + a * (back ? first : second));
  }
}

}  // namespace
