// What only sampling does: attention of one new token over what is remembered, and drawing the next. ../kernels.py calls
// this.

#include <optional>
#include <vector>

#include "numbers.h"

namespace {

using lanes = float __attribute__((vector_size(64)));

inline lanes lift(const bf16* x) {  // 16 numbers
  using narrow = bf16 __attribute__((vector_size(32), aligned(2)));
  using wide = uint32_t __attribute__((vector_size(64)));
  return std::bit_cast<lanes>(__builtin_convertvector(*reinterpret_cast<const narrow*>(x), wide) << 16);
}

// Turns scores into shares of one.
inline void share(float* x, int64_t seen) {
  float most = -INFINITY, total = 0.0f;
#pragma omp simd reduction(max : most)
  for (int64_t s = 0; s < seen; ++s) most = x[s] > most ? x[s] : most;
#pragma omp simd reduction(+ : total)
  for (int64_t s = 0; s < seen; ++s) {
    x[s] = exponential(x[s] - most);
    total += x[s];
  }
#pragma omp simd
  for (int64_t s = 0; s < seen; ++s) x[s] /= total;
}

// Attention of G queries [G, 16 W] over `seen` keys: every key and value is read and lifted once for all of them.
template <int W, int G>
void look(const float* q, const bf16* keys, const bf16* values, int64_t seen, float* x, float* mixed) {
  lanes query[G][W], sums[G][W] = {};
  for (int g = 0; g < G; ++g)
    for (int w = 0; w < W; ++w) __builtin_memcpy(&query[g][w], q + 16 * (g * W + w), sizeof(lanes));
  for (int64_t s = 0; s < seen; ++s) {
    lanes dot[G] = {};
    for (int w = 0; w < W; ++w) {
      const lanes key = lift(keys + 16 * (s * W + w));
      for (int g = 0; g < G; ++g) dot[g] += query[g][w] * key;
    }
    for (int g = 0; g < G; ++g) {
      float sum = 0.0f;
      for (int i = 0; i < 16; ++i) sum += dot[g][i];
      x[g * seen + s] = sum;
    }
  }
  for (int g = 0; g < G; ++g) share(x + g * seen, seen);
  for (int64_t s = 0; s < seen; ++s)
    for (int w = 0; w < W; ++w) {
      const lanes value = lift(values + 16 * (s * W + w));
      for (int g = 0; g < G; ++g) sums[g][w] += x[g * seen + s] * value;
    }
  for (int g = 0; g < G; ++g) __builtin_memcpy(mixed + 16 * g * W, sums[g], W * sizeof(lanes));
}

// The same of one query of any width.
void look_at(const float* q, const bf16* keys, const bf16* values, int64_t seen, int64_t width, float* x, float* mixed) {
  for (int64_t s = 0; s < seen; ++s) {
    float sum = 0.0f;
    for (int64_t i = 0; i < width; ++i) sum += q[i] * up(keys[s * width + i]);
    x[s] = sum;
  }
  share(x, seen);
  for (int64_t i = 0; i < width; ++i) mixed[i] = 0.0f;
  for (int64_t s = 0; s < seen; ++s)
    for (int64_t i = 0; i < width; ++i) mixed[i] += x[s] * up(values[s * width + i]);
}

template <int W>
void look_many(const float* q, int64_t queries, const bf16* keys, const bf16* values, int64_t seen, float* x, float* mixed) {
  for (; queries >= 3; queries -= 3, q += 48 * W, mixed += 48 * W) look<W, 3>(q, keys, values, seen, x, mixed);
  if (queries == 2) look<W, 2>(q, keys, values, seen, x, mixed);
  if (queries == 1) look<W, 1>(q, keys, values, seen, x, mixed);
}

// One new token a row: its key, turned, and its value go into the caches [B, K, room, C] at place lengths[b], and its
// queries look at all up to there, `window` of them at most (0: all). heads [B, H + K, C] are queries and keys, value
// [B, K, C], each with any distance between rows; cos and sin [B, C], or none; out [B, H C].
void attend(Tensor heads, Tensor value, std::optional<Tensor> cos, std::optional<Tensor> sin, Tensor keys, Tensor values,
            Tensor lengths, double scale, int64_t window, Tensor out) {
  const int64_t rows = heads.size(0), shared = value.size(1), width = heads.size(2);
  const int64_t query_heads = heads.size(1) - shared, group = query_heads / shared;
  const int64_t heads_step = heads.stride(0), value_step = value.stride(0);
  const int64_t row_step = keys.stride(0), head_step = keys.stride(1);
  const bf16 *from = data<bf16>(heads), *news = data<bf16>(value);
  const bf16 *c = cos ? data<bf16>(*cos) : nullptr, *s = sin ? data<bf16>(*sin) : nullptr;
  bf16 *k = data<bf16>(keys), *v = data<bf16>(values), *to = data<bf16>(out);
  const int64_t* length = data<int64_t>(lengths);
  int64_t longest = 0;
  for (int64_t b = 0; b < rows; ++b) longest = std::max(longest, length[b]);
  over(rows * shared, (longest + 1) * width, [=](int64_t begin, int64_t end) {
    std::vector<float> kept, q(group * width), mixed(group * width);
    std::vector<bf16> turned(width);
    for (int64_t n = begin; n < end; ++n) {
      const int64_t b = n / shared, head = n % shared, place = length[b];
      bf16 *own_keys = k + b * row_step + head * head_step, *own_values = v + b * row_step + head * head_step;
      const auto ready = [&](const bf16* x, bf16* y) {
        if (c) return turn(x, c + b * width, s + b * width, width, false, y);
        for (int64_t i = 0; i < width; ++i) y[i] = x[i];
      };
      ready(from + b * heads_step + (query_heads + head) * width, own_keys + place * width);
      for (int64_t i = 0; i < width; ++i) own_values[place * width + i] = news[b * value_step + head * width + i];
      for (int64_t g = 0; g < group; ++g) {
        ready(from + b * heads_step + (head * group + g) * width, turned.data());
        for (int64_t i = 0; i < width; ++i) q[g * width + i] = up(turned[i]) * static_cast<float>(scale);
      }
      const int64_t first = window ? std::max<int64_t>(0, place + 1 - window) : 0;
      own_keys += first * width, own_values += first * width;
      const int64_t seen = place + 1 - first;
      kept.resize(3 * seen);
      float* x = kept.data();
      if (width == 64) look_many<4>(q.data(), group, own_keys, own_values, seen, x, mixed.data());
      else if (width == 128) look_many<8>(q.data(), group, own_keys, own_values, seen, x, mixed.data());
      else
        for (int64_t g = 0; g < group * width; g += width)
          look_at(q.data() + g, own_keys, own_values, seen, width, x, mixed.data() + g);
      bf16* mine = to + (b * query_heads + head * group) * width;
      for (int64_t i = 0; i < group * width; ++i) mine[i] = down(mixed[i]);
    }
  });
}

// A token for each row of logits [B, V] in fp32, at which the cumulative distribution passes `uniform` [B] of its total;
// the likeliest where the temperature is 0. Also its log-probability, at temperature 1 then.
void draw(Tensor logits, Tensor temperature, Tensor uniform, Tensor token, Tensor logprob) {
  constexpr int64_t block = 256;
  const int64_t rows = logits.size(0), vocabulary = logits.size(1), blocks = (vocabulary + block - 1) / block;
  const float *all = data<float>(logits), *heat = data<float>(temperature);
  const double* share = data<double>(uniform);
  int64_t* chosen = data<int64_t>(token);
  float* found = data<float>(logprob);
  over(rows, vocabulary, [=](int64_t begin, int64_t end) {
    std::vector<float> sums(blocks);
    for (int64_t n = begin; n < end; ++n) {
      const float *x = all + n * vocabulary, cold = 1.0f / (heat[n] > 0.0f ? heat[n] : 1.0f);
      float most = -INFINITY;
#pragma omp simd reduction(max : most)
      for (int64_t i = 0; i < vocabulary; ++i) most = x[i] > most ? x[i] : most;
      const auto weight = [=](int64_t i) { return x[i] == -INFINITY ? 0.0f : exponential((x[i] - most) * cold); };
      double total = 0.0;
      for (int64_t k = 0; k < blocks; ++k) {
        float sum = 0.0f;
        const int64_t stop = std::min(vocabulary, (k + 1) * block);
#pragma omp simd reduction(+ : sum)
        for (int64_t i = k * block; i < stop; ++i) sum += weight(i);
        total += sums[k] = sum;
      }
      int64_t at = 0;
      if (heat[n] > 0.0f) {
        const double target = share[n] * total;
        double passed = 0.0;
        int64_t k = 0;
        while (k < blocks - 1 && passed + sums[k] <= target) passed += sums[k++];
        const int64_t stop = std::min(vocabulary, (k + 1) * block);
        at = k * block;
        for (int64_t i = k * block; i < stop; ++i) {
          const float here = weight(i);
          if (here > 0.0f) at = i;  // rounding may leave the target beyond the last of them
          if ((passed += here) > target) break;
        }
      } else {
        while (at < vocabulary - 1 && x[at] != most) ++at;
      }
      chosen[n] = at;
      found[n] = (x[at] - most) * cold - static_cast<float>(std::log(total));
    }
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(poziomka, library) {
  library.def(
      "attend(Tensor heads, Tensor value, Tensor? cos, Tensor? sin, Tensor(a!) keys, Tensor(b!) values, Tensor lengths,"
      " float scale, int window, Tensor(c!) out) -> ()");
  library.def(
      "draw(Tensor logits, Tensor temperature, Tensor uniform, Tensor(a!) token, Tensor(b!) logprob) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(poziomka, CPU, library) {
  library.impl("attend", TORCH_BOX(&attend));
  library.impl("draw", TORCH_BOX(&draw));
}
