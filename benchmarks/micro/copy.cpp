// Copying into shared memory (a memfd): the limit of put.
// usage: copy SIZE_BYTES REPEATS  -> {"warm_memcpy_1": s, ...}, the median seconds of one copy each
//   warm_*   the destination's pages exist and were written before (steady state)
//   cold_*   a fresh memfd: the copy pays the page faults; *_write copies with pwrite (no faults),
//            *_allocated reserves with fallocate first (its time counts, it allocates the pages)
//   touch_1  writing one byte of each page of a fresh memfd
// The digit is the number of threads; nt = non-temporal stores.
#include <fcntl.h>

#include <cstring>
#include <functional>
#include <string>
#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "probe.h"

namespace {

using CopyRange = std::function<void(std::size_t begin, std::size_t end)>;

constexpr std::size_t page_bytes = 4096;

// A memfd of a given size, mapped for writing; unmapped and closed at the end.
class Segment {
 public:
  explicit Segment(std::size_t size_bytes) : size_bytes_(size_bytes) {
    fd_ = memfd_create("probe", MFD_CLOEXEC);
    if (fd_ < 0 || ftruncate(fd_, static_cast<off_t>(size_bytes)) != 0) probe::die("memfd");
    void* memory = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    if (memory == MAP_FAILED) probe::die("mmap");
    data_ = static_cast<std::byte*>(memory);
  }
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  ~Segment() {
    munmap(data_, size_bytes_);
    close(fd_);
  }
  std::byte* data() const { return data_; }
  int fd() const { return fd_; }

 private:
  std::size_t size_bytes_;
  int fd_ = -1;
  std::byte* data_ = nullptr;
};

void copy_non_temporal(std::byte* to, const std::byte* from, std::size_t size_bytes) {
#if defined(__x86_64__)
  auto* out = reinterpret_cast<__m128i*>(to);
  const auto* in = reinterpret_cast<const __m128i*>(from);
  for (std::size_t i = 0; i < size_bytes / 16; i += 4) {
    const __m128i a = _mm_loadu_si128(in + i);
    const __m128i b = _mm_loadu_si128(in + i + 1);
    const __m128i c = _mm_loadu_si128(in + i + 2);
    const __m128i d = _mm_loadu_si128(in + i + 3);
    _mm_stream_si128(out + i, a);
    _mm_stream_si128(out + i + 1, b);
    _mm_stream_si128(out + i + 2, c);
    _mm_stream_si128(out + i + 3, d);
  }
  _mm_sfence();
#else
  std::memcpy(to, from, size_bytes);
#endif
}

// Splits [0, size) into page-aligned parts, one a thread; the calling thread takes the first.
double timed(std::size_t size_bytes, unsigned threads, const CopyRange& copy) {
  const double start_s = probe::now_s();
  const std::size_t part = (size_bytes / threads + page_bytes - 1) / page_bytes * page_bytes;
  std::vector<std::thread> others;
  for (unsigned i = 1; i < threads; ++i) {
    others.emplace_back(copy, i * part, std::min(size_bytes, (i + 1) * part));
  }
  copy(0, std::min(size_bytes, part));
  for (auto& other : others)
    other.join();
  return probe::now_s() - start_s;
}

class Bench {
 public:
  Bench(std::size_t size_bytes, int repeats)
      : size_bytes_(size_bytes), repeats_(repeats), source_(size_bytes, std::byte{7}) {}

  double warm(unsigned threads, bool non_temporal) {
    const Segment target(size_bytes_);
    std::memset(target.data(), 1, size_bytes_);
    return repeat([&] { return timed(size_bytes_, threads, copier(target, non_temporal)); });
  }

  double cold(unsigned threads, bool non_temporal, bool allocate) {
    return repeat([&] {
      const Segment target(size_bytes_);
      const double start_s = probe::now_s();
      if (allocate && fallocate(target.fd(), 0, 0, static_cast<off_t>(size_bytes_)) != 0) {
        probe::die("fallocate");
      }
      const double allocated_s = probe::now_s() - start_s;
      return allocated_s + timed(size_bytes_, threads, copier(target, non_temporal));
    });
  }

  double cold_write(unsigned threads) {
    return repeat([&] {
      const Segment target(size_bytes_);
      return timed(size_bytes_, threads, [&](std::size_t begin, std::size_t end) {
        while (begin < end) {
          const ssize_t done =
              pwrite(target.fd(), source_.data() + begin, end - begin, static_cast<off_t>(begin));
          if (done <= 0) probe::die("pwrite");
          begin += static_cast<std::size_t>(done);
        }
      });
    });
  }

  double touch() {
    return repeat([&] {
      const Segment target(size_bytes_);
      return timed(size_bytes_, 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; i += page_bytes)
          target.data()[i] = std::byte{1};
      });
    });
  }

 private:
  CopyRange copier(const Segment& target, bool non_temporal) {
    return [this, &target, non_temporal](std::size_t begin, std::size_t end) {
      auto* copy = non_temporal ? copy_non_temporal
                                : [](std::byte* to, const std::byte* from, std::size_t size) {
                                    std::memcpy(to, from, size);
                                  };
      copy(target.data() + begin, source_.data() + begin, end - begin);
    };
  }

  double repeat(const std::function<double()>& once) const {
    std::vector<double> seconds;
    for (int i = 0; i < repeats_; ++i)
      seconds.push_back(once());
    return probe::median(seconds);
  }

  std::size_t size_bytes_;
  int repeats_;
  std::vector<std::byte> source_;
};

void print(const char* name, double seconds, bool last = false) {
  std::printf("\"%s\": %.9f%s", name, seconds, last ? "}\n" : ", ");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const auto pages = static_cast<std::size_t>(std::atoll(argv[1])) / page_bytes;
  Bench bench(pages * page_bytes, std::atoi(argv[2]));
  std::printf("{");
  print("warm_memcpy_1", bench.warm(1, false));
  print("warm_memcpy_2", bench.warm(2, false));
  print("warm_nt_1", bench.warm(1, true));
  print("warm_nt_2", bench.warm(2, true));
  print("cold_memcpy_1", bench.cold(1, false, false));
  print("cold_memcpy_2", bench.cold(2, false, false));
  print("cold_nt_2", bench.cold(2, true, false));
  print("cold_allocated_2", bench.cold(2, false, true));
  print("cold_write_1", bench.cold_write(1));
  print("cold_write_2", bench.cold_write(2));
  print("touch_1", bench.touch(), true);
}
