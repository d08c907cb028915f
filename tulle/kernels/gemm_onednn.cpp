#include <dnnl.h>
#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <dnnl.hpp>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "tulle/base/aligned.h"
#include "tulle/kernels/gemm.h"
#include "tulle/kernels/narrow.h"
#include "tulle/kernels/targets.h"

namespace tulle::kernels {
namespace {

// oneDNN takes its limit once, before its first use; TULLE_ISA counts there too.
void limit_instruction_set() noexcept {
  const std::string target = current_target();
  dnnl_cpu_isa_t limit = dnnl_cpu_isa_all;
  if (target == "avx2") limit = dnnl_cpu_isa_avx2;
  if (target == "sse4" || target == "ssse3" || target == "scalar") limit = dnnl_cpu_isa_sse41;
  dnnl_set_max_cpu_isa(limit);
}

// Until version 3.11 oneDNN's products keep the stack pointer in their workspace on the heap (oneDNN issue
// 4845): a signal handler that runs on this thread would overwrite what lies there. Signals wait until the
// product is done.
class SignalsWait {
 public:
  SignalsWait() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsWait() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsWait(const SignalsWait&) = delete;
  SignalsWait& operator=(const SignalsWait&) = delete;

 private:
  sigset_t before_;
};

// What holds around every call of the library on this thread: its limits are set, signals wait, and it runs
// on this thread alone (it would start its own threads outside a parallel region, and its sums depend on
// their number).
struct Surroundings {
  int threads = omp_get_max_threads();
  SignalsWait signals_wait{};

  Surroundings() noexcept {
    static const bool limited = (limit_instruction_set(), true);
    (void)limited;
    omp_set_num_threads(1);
  }
  ~Surroundings() { omp_set_num_threads(threads); }
};

thread_local int scopes = 0;  // at work on this thread, one in another
thread_local std::optional<Surroundings> surroundings;

}  // namespace

ProductScope::ProductScope() noexcept {
  if (scopes++ == 0) surroundings.emplace();
}
ProductScope::~ProductScope() {
  if (--scopes == 0) surroundings.reset();
}

void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const float* a,
          std::int64_t a_stride, const float* b, std::int64_t b_stride, bool add, float* c,
          std::int64_t c_stride) noexcept {
  if (k == 0) {  // oneDNN leaves C as it was
    if (!add)
      for (std::int64_t i = 0; i < m; ++i) std::fill_n(c + i * c_stride, n, 0.0f);
    return;
  }
  const ProductScope scope;
  dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, 1.0f, a, a_stride, b, b_stride,
             add ? 1.0f : 0.0f, c, c_stride);
}

namespace {

using dnnl::memory;

const dnnl::engine& cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

memory::desc rows_of(std::int64_t rows, std::int64_t columns, memory::data_type type, std::int64_t stride) {
  return {{rows, columns}, type, memory::dims{stride, 1}};
}

}  // namespace

// Products of the same number of rows share what the library prepared for them.
struct PackedMatrix::Layout {
  // What one call hands over, made once and used again and again.
  struct Call {
    AlignedVector<std::byte> workspace;
    memory a, c, workspace_memory;
    std::unordered_map<int, memory> arguments;
  };
  struct Product {
    std::int64_t m, a_stride, c_stride;
    bool add;
    dnnl::matmul product;
    memory::desc a, c, workspace;
    std::vector<std::unique_ptr<Call>> idle;

    std::unique_ptr<Call> make_call(const memory& values) const {
      auto call = std::make_unique<Call>();
      call->workspace.resize(workspace.get_size());
      call->a = memory(a, cpu(), nullptr);
      call->c = memory(c, cpu(), nullptr);
      call->workspace_memory = memory(workspace, cpu(), call->workspace.data());
      call->arguments = {{DNNL_ARG_SRC, call->a},
                         {DNNL_ARG_WEIGHTS, values},
                         {DNNL_ARG_DST, call->c},
                         {DNNL_ARG_SCRATCHPAD, call->workspace_memory}};
      return call;
    }
  };

  bool bf16 = false;
  bool rounds = false;  // bfloat16 in floats: the same products, without their speed
  memory::desc desc;    // of the packed values, as the library likes them
  memory values;
  mutable std::mutex mutex;
  mutable std::vector<std::unique_ptr<Product>> products;

  memory::data_type type() const { return bf16 ? memory::data_type::bf16 : memory::data_type::f32; }

  dnnl::matmul::primitive_desc prepare(const memory::desc& b, const memory::desc& a, const memory::desc& c,
                                       bool add) const {
    dnnl::primitive_attr attributes;
    // The library's own workspace belongs to the thread that prepared the product.
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    if (add) {
      dnnl::post_ops sum;
      sum.append_sum();
      attributes.set_post_ops(sum);
    }
    return {dnnl::matmul::desc(a, b, memory::desc(), c), attributes, cpu()};
  }

  // The product and a call of it that nobody else is at.
  std::pair<Product*, std::unique_ptr<Call>> take(std::int64_t m, std::int64_t k, std::int64_t n,
                                                  std::int64_t a_stride, bool add,
                                                  std::int64_t c_stride) const {
    const std::lock_guard lock(mutex);
    const auto fits = [&](const auto& p) {
      return p->m == m && p->a_stride == a_stride && p->c_stride == c_stride && p->add == add;
    };
    auto found = std::ranges::find_if(products, fits);
    if (found == products.end()) {
      const memory::desc a = rows_of(m, k, type(), a_stride);
      const memory::desc c = rows_of(m, n, memory::data_type::f32, c_stride);
      const dnnl::matmul::primitive_desc prepared = prepare(desc, a, c, add);
      products.push_back(std::make_unique<Product>(
          Product{m, a_stride, c_stride, add, dnnl::matmul(prepared), a, c, prepared.scratchpad_desc(), {}}));
      found = products.end() - 1;
    }
    Product& product = **found;
    if (product.idle.empty()) return {&product, product.make_call(values)};
    std::unique_ptr<Call> call = std::move(product.idle.back());
    product.idle.pop_back();
    return {&product, std::move(call)};
  }
  void give_back(Product& product, std::unique_ptr<Call> call) const {
    const std::lock_guard lock(mutex);
    product.idle.push_back(std::move(call));
  }
};

PackedMatrix::PackedMatrix(std::int64_t k, std::int64_t n, bool bf16)
    : k_(k), n_(n), layout_(std::make_unique<Layout>()) {
  constexpr std::int64_t kTypicalRows = 64;
  const ProductScope scope;
  const auto liked = [&] {
    const memory::desc any({k, n}, layout_->type(), memory::format_tag::any);
    return layout_
        ->prepare(any, rows_of(kTypicalRows, k, layout_->type(), k),
                  rows_of(kTypicalRows, n, memory::data_type::f32, n), false)
        .weights_desc();
  };
  layout_->bf16 = bf16;
  try {
    layout_->desc = liked();
  } catch (const dnnl::error&) {  // the library has no bfloat16 on this processor
    layout_->bf16 = false;
    layout_->rounds = true;
    layout_->desc = liked();
  }
  layout_->values = memory(layout_->desc, cpu());
  const std::vector<float> zeros(static_cast<std::size_t>(k * n), 0.0f);
  pack(zeros.data(), n, false);
}
PackedMatrix::PackedMatrix(PackedMatrix&&) noexcept = default;
PackedMatrix::~PackedMatrix() = default;

void PackedMatrix::pack(const float* b, std::int64_t stride, bool transposed) {
  const ProductScope scope;
  AlignedVector<float> rounded;
  if (layout_->rounds) {
    const std::int64_t rows = transposed ? n_ : k_, columns = transposed ? k_ : n_;
    rounded.resize(static_cast<std::size_t>(k_ * n_));
    for (std::int64_t r = 0; r < rows; ++r)
      round_to_bf16(b + r * stride, columns, rounded.data() + r * columns);
    b = rounded.data();
    stride = columns;
  }
  const memory::desc from({k_, n_}, memory::data_type::f32,
                          transposed ? memory::dims{1, stride} : memory::dims{stride, 1});
  memory source(from, cpu(), const_cast<float*>(b));
  dnnl::stream stream(cpu());
  dnnl::reorder(source, layout_->values).execute(stream, source, layout_->values);
}

void PackedMatrix::multiply(std::int64_t m, const float* a, std::int64_t a_stride, bool add, float* c,
                            std::int64_t c_stride) const {
  const ProductScope scope;
  thread_local AlignedVector<std::uint16_t> narrow;
  thread_local dnnl::stream stream(cpu());
  const void* left = a;
  if (layout_->bf16) {
    narrow.resize(std::max(narrow.size(), static_cast<std::size_t>(m * k_)));
    for (std::int64_t i = 0; i < m; ++i) narrow_in_order(a + i * a_stride, k_, narrow.data() + i * k_);
    left = narrow.data();
    a_stride = k_;
  }
  thread_local AlignedVector<float> rounded;
  if (layout_->rounds) {
    rounded.resize(std::max(rounded.size(), static_cast<std::size_t>(m * k_)));
    for (std::int64_t i = 0; i < m; ++i) round_to_bf16(a + i * a_stride, k_, rounded.data() + i * k_);
    left = rounded.data();
    a_stride = k_;
  }
  auto [product, call] = layout_->take(m, k_, n_, a_stride, add, c_stride);
  call->a.set_data_handle(const_cast<void*>(left));
  call->c.set_data_handle(c);
  product->product.execute(stream, call->arguments);
  layout_->give_back(*product, std::move(call));
}

const char* gemm_library() noexcept { return "oneDNN"; }

}  // namespace tulle::kernels
