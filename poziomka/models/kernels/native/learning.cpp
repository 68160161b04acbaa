// What a model does with every token, forward and backward, and what moves its weights: bfloat16 on a CPU.
//
// What PyTorch does in several passes over memory is done in one, in fp32, and rounded once. Loops are plain C++ that a
// compiler turns into vector instructions; the only interface is PyTorch's stable one, so a build takes seconds.
// ../kernels.py calls this.

#include <vector>

#include "numbers.h"

namespace {

inline float squares(const bf16* x, int64_t width) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < width; ++i) sum += up(x[i]) * up(x[i]);
  return sum;
}

// out[n] = x[n] / rms(x[n]) * (weight + offset); x [N, D] with any distance between rows.
void norm(Tensor x, Tensor weight, double offset, double epsilon, Tensor out) {
  const int64_t rows = x.size(0), width = x.size(1), step = x.stride(0);
  const bf16 *from = data<bf16>(x), *scale = data<bf16>(weight);
  bf16* to = data<bf16>(out);
  const float more = static_cast<float>(offset);
  over(rows, width, [=](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const bf16* row = from + n * step;
      const float r = 1.0f / std::sqrt(squares(row, width) / width + static_cast<float>(epsilon));
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) to[n * width + i] = down(up(row[i]) * r * (up(scale[i]) + more));
    }
  });
}

// Gradients of norm: by x into out [N, D]; by weight into slope [C, D] fp32, one row for each of C stretches of rows.
void norm_back(Tensor x, Tensor weight, double offset, double epsilon, Tensor grad, Tensor out, Tensor slope) {
  const int64_t rows = x.size(0), width = x.size(1), step = x.stride(0), stretches = slope.size(0);
  const bf16 *from = data<bf16>(x), *scale = data<bf16>(weight), *g = data<bf16>(grad);
  bf16* to = data<bf16>(out);
  float* sums = data<float>(slope);
  const float more = static_cast<float>(offset);
  torch::stable::parallel_for(0, stretches, 1, [=](int64_t first, int64_t last) {
    for (int64_t stretch = first; stretch < last; ++stretch) {
      float* sum = sums + stretch * width;
      for (int64_t i = 0; i < width; ++i) sum[i] = 0.0f;
      for (int64_t n = stretch * rows / stretches; n < (stretch + 1) * rows / stretches; ++n) {
        const bf16 *row = from + n * step, *gn = g + n * width;
        const float r = 1.0f / std::sqrt(squares(row, width) / width + static_cast<float>(epsilon));
        float along = 0.0f;
#pragma omp simd reduction(+ : along)
        for (int64_t i = 0; i < width; ++i) along += up(gn[i]) * (up(scale[i]) + more) * up(row[i]);
        const float pull = along * r * r * r / width;
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) {
          const float here = up(row[i]), given = up(gn[i]);
          to[n * width + i] = down(given * (up(scale[i]) + more) * r - here * pull);
          sum[i] += given * here * r;
        }
      }
    }
  });
}

// out[n] = silu(gate) * up, with both halves in one row [N, 2 I].
void gated(Tensor both, Tensor out) {
  const int64_t rows = both.size(0), inner = both.size(1) / 2;
  const bf16* from = data<bf16>(both);
  bf16* to = data<bf16>(out);
  over(rows, inner, [=](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const bf16 *gate = from + 2 * n * inner, *value = gate + inner;
#pragma omp simd
      for (int64_t i = 0; i < inner; ++i) {
        const float x = up(gate[i]);
        to[n * inner + i] = down(x / (1.0f + exponential(-x)) * up(value[i]));
      }
    }
  });
}

// The gradient of gated by both halves, into out [N, 2 I].
void gated_back(Tensor both, Tensor grad, Tensor out) {
  const int64_t rows = both.size(0), inner = both.size(1) / 2;
  const bf16 *from = data<bf16>(both), *g = data<bf16>(grad);
  bf16* to = data<bf16>(out);
  over(rows, inner, [=](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const bf16 *gate = from + 2 * n * inner, *value = gate + inner, *gn = g + n * inner;
      bf16* back = to + 2 * n * inner;
#pragma omp simd
      for (int64_t i = 0; i < inner; ++i) {
        const float x = up(gate[i]), given = up(gn[i]), s = 1.0f / (1.0f + exponential(-x));
        back[i] = down(given * up(value[i]) * s * (1.0f + x * (1.0f - s)));
        back[inner + i] = down(given * x * s);
      }
    }
  });
}

// Turns heads [N, H, C], any distance between tokens, by cos and sin [N, C]; `back`: the gradient's way.
void rotate(Tensor x, Tensor cos, Tensor sin, bool back, Tensor out) {
  const int64_t tokens = x.size(0), heads = x.size(1), width = x.size(2), step = x.stride(0);
  const bf16 *from = data<bf16>(x), *c = data<bf16>(cos), *s = data<bf16>(sin);
  bf16* to = data<bf16>(out);
  over(tokens, heads * width, [=](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n)
      for (int64_t h = 0; h < heads; ++h)
        turn(from + n * step + h * width, c + n * width, s + n * width, width, back, to + (n * heads + h) * width);
  });
}

// Softmax over what may be seen, in place: scores [S, R, L], whose row r is the query at place start[s] + r % queries of
// its text; it sees places up to its own, `window` of them at most (0: all). What is not seen becomes 0.
void soften(Tensor scores, Tensor start, int64_t queries, double scale, int64_t window) {
  const int64_t texts = scores.size(0), each = scores.size(1), length = scores.size(2);
  bf16* all = data<bf16>(scores);
  const int64_t* first = data<int64_t>(start);
  over(texts * each, length * 8, [=](int64_t begin, int64_t end) {
    std::vector<float> kept(length);
    float* x = kept.data();
    for (int64_t n = begin; n < end; ++n) {
      bf16* row = all + n * length;
      const int64_t stop = std::min(length, first[n / each] + n % each % queries + 1);
      const int64_t from = window ? std::max<int64_t>(0, stop - window) : 0;
      float most = -INFINITY, sum = 0.0f;
#pragma omp simd reduction(max : most)
      for (int64_t i = from; i < stop; ++i) {
        x[i] = up(row[i]) * static_cast<float>(scale);
        most = x[i] > most ? x[i] : most;
      }
#pragma omp simd reduction(+ : sum)
      for (int64_t i = from; i < stop; ++i) {
        x[i] = exponential(x[i] - most);
        sum += x[i];
      }
      for (int64_t i = 0; i < from; ++i) row[i] = 0;
#pragma omp simd
      for (int64_t i = from; i < stop; ++i) row[i] = down(x[i] / sum);
      for (int64_t i = stop; i < length; ++i) row[i] = 0;
    }
  });
}

// The gradient of soften by the scores, in place of `grad` [N, L]: scale p (g - sum(g p)).
void soften_back(Tensor weights, double scale, Tensor grad) {
  const int64_t rows = weights.size(0), length = weights.size(1);
  const bf16* all = data<bf16>(weights);
  bf16* to = data<bf16>(grad);
  over(rows, length * 2, [=](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const bf16* p = all + n * length;
      bf16* g = to + n * length;
      float mean = 0.0f;
#pragma omp simd reduction(+ : mean)
      for (int64_t i = 0; i < length; ++i) mean += up(p[i]) * up(g[i]);
#pragma omp simd
      for (int64_t i = 0; i < length; ++i) g[i] = down(static_cast<float>(scale) * up(p[i]) * (up(g[i]) - mean));
    }
  });
}

// out[n] = the sum of rows entries[ends[n - 1]] ... entries[ends[n] - 1] of x [M, W], in this order and in fp32.
template <class T>
void sum_rows(const Tensor& x, const Tensor& entries, const Tensor& ends, const Tensor& out) {
  const int64_t rows = out.size(0), width = out.size(1);
  const T* from = data<T>(x);
  const int64_t *which = data<int64_t>(entries), *stop = data<int64_t>(ends);
  T* to = data<T>(out);
  over(rows, width, [=](int64_t begin, int64_t end) {
    std::vector<float> kept(width);
    float* sum = kept.data();
    for (int64_t n = begin; n < end; ++n) {
      for (int64_t i = 0; i < width; ++i) sum[i] = 0.0f;
      for (int64_t at = n ? stop[n - 1] : 0; at < stop[n]; ++at) {
        const T* row = from + which[at] * width;
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) sum[i] += up(row[i]);
      }
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) to[n * width + i] = rounded<T>(sum[i]);
    }
  });
}

// sum_rows of bfloat16 or of fp32.
void gather_back(Tensor x, Tensor entries, Tensor ends, Tensor out) {
  if (x.element_size() == sizeof(float)) sum_rows<float>(x, entries, ends, out);
  else sum_rows<bf16>(x, entries, ends, out);
}

// sum += x, all [N].
void add(Tensor sum, Tensor x) {
  const int64_t count = sum.numel(), stretches = (count + 4095) / 4096;
  float* to = data<float>(sum);
  const bf16* from = data<bf16>(x);
  over(stretches, 4096, [=](int64_t begin, int64_t end) {
    const int64_t stop = std::min(count, end * 4096);
#pragma omp simd
    for (int64_t i = begin * 4096; i < stop; ++i) to[i] += up(from[i]);
  });
}

// A step of AdamW on N weights: learning/optim/adamw.py. Weights and gradient in fp32, moments in bfloat16.
void adamw(Tensor weight, Tensor grad, Tensor mean, Tensor square, double kept, double beta1, double beta2, double rate,
           double correction, double epsilon) {
  const int64_t count = weight.numel(), stretches = (count + 4095) / 4096;
  float* w = data<float>(weight);
  const float* g = data<float>(grad);
  bf16 *m = data<bf16>(mean), *v = data<bf16>(square);
  const float b1 = static_cast<float>(1 - beta1), b2 = static_cast<float>(beta2), c2 = static_cast<float>(1 - beta2);
  const float keep = static_cast<float>(kept), pace = static_cast<float>(rate);
  const float level = static_cast<float>(1 / correction), floor = static_cast<float>(epsilon);
  over(stretches, 4096, [=](int64_t begin, int64_t end) {
    const int64_t stop = std::min(count, end * 4096);
#pragma omp simd
    for (int64_t i = begin * 4096; i < stop; ++i) {
      const float slope = g[i], old = up(m[i]);
      const float first = old + b1 * (slope - old), second = b2 * up(v[i]) + c2 * slope * slope;
      w[i] = w[i] * keep - pace * first / (std::sqrt(second) * level + floor);
      m[i] = down(first);
      v[i] = down(second);
    }
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(poziomka, library) {
  library.def("norm(Tensor x, Tensor weight, float offset, float epsilon, Tensor(a!) out) -> ()");
  library.def(
      "norm_back(Tensor x, Tensor weight, float offset, float epsilon, Tensor grad, Tensor(a!) out, Tensor(b!) slope)"
      " -> ()");
  library.def("gated(Tensor both, Tensor(a!) out) -> ()");
  library.def("gated_back(Tensor both, Tensor grad, Tensor(a!) out) -> ()");
  library.def("rotate(Tensor x, Tensor cos, Tensor sin, bool back, Tensor(a!) out) -> ()");
  library.def("soften(Tensor(a!) scores, Tensor start, int queries, float scale, int window) -> ()");
  library.def("soften_back(Tensor weights, float scale, Tensor(a!) grad) -> ()");
  library.def("gather_back(Tensor x, Tensor entries, Tensor ends, Tensor(a!) out) -> ()");
  library.def("add(Tensor(a!) sum, Tensor x) -> ()");
  library.def(
      "adamw(Tensor(a!) weight, Tensor grad, Tensor(b!) mean, Tensor(c!) square, float kept, float beta1, float beta2,"
      " float rate, float correction, float epsilon) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(poziomka, CPU, library) {
  library.impl("norm", TORCH_BOX(&norm));
  library.impl("norm_back", TORCH_BOX(&norm_back));
  library.impl("gated", TORCH_BOX(&gated));
  library.impl("gated_back", TORCH_BOX(&gated_back));
  library.impl("rotate", TORCH_BOX(&rotate));
  library.impl("soften", TORCH_BOX(&soften));
  library.impl("soften_back", TORCH_BOX(&soften_back));
  library.impl("gather_back", TORCH_BOX(&gather_back));
  library.impl("add", TORCH_BOX(&add));
  library.impl("adamw", TORCH_BOX(&adamw));
}
