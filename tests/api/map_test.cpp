// One call for many items: each has a ref, a value or an error of its own, several are one task.
#include <gtest/gtest.h>
#include <haz/haz.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <fstream>
#include <numeric>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;

int doubled(int x) { return 2 * x; }
HAZ_REMOTE(doubled);

std::string joined(const std::string& text, double number, bool flag) {
  return text + " " + std::to_string(static_cast<int>(number)) + (flag ? " yes" : " no");
}
HAZ_REMOTE(joined);

void nothing_of(int /*x*/) {}
HAZ_REMOTE(nothing_of);

[[gnu::noinline]] int refuses_sevens(int x) {
  if (x % 100 == 7) throw std::out_of_range("no " + std::to_string(x));
  if (x % 100 == 8) throw x;  // NOLINT
  return x;
}
HAZ_REMOTE(refuses_sevens);

int refuses_at_length(int x) {
  if (x % 2 != 0) throw std::runtime_error(std::string(5000, 'x') + std::to_string(x));
  return x;
}
HAZ_REMOTE(refuses_at_length);

std::vector<double> filled(const std::vector<double>& like, double with) {
  return std::vector<double>(like.size(), with + like.front());
}
HAZ_REMOTE(filled);

std::string repeated(const std::string& text) { return text + text; }
HAZ_REMOTE(repeated);

/// Its process, and the number of the call within it.
std::pair<int, int> place_of(int /*x*/) {
  static int calls = 0;
  return {static_cast<int>(::getpid()), ++calls};
}
HAZ_REMOTE(place_of);

/// The process once for each call, and a nap.
int naps(int ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
  return static_cast<int>(::getpid());
}
HAZ_REMOTE(naps);

haz::ref<int> doubled_later(int x) { return haz::task(doubled).remote(x); }
HAZ_REMOTE(doubled_later);

int value_of_ref(const haz::ref<int>& ref) { return haz::get(ref); }
HAZ_REMOTE(value_of_ref);

long sum_by_map(int n) {
  long sum = 0;
  for (const int value : haz::get(haz::task(doubled).map(std::views::iota(0, n))))
    sum += value;
  return sum;
}
HAZ_REMOTE(sum_by_map);

/// Kills its process the first time.
int dies_once(int x, const std::string& path) {
  if (x == 3 && !std::filesystem::exists(path)) {
    std::ofstream(path) << 'x';
    ::raise(SIGKILL);
  }
  return x;
}
HAZ_REMOTE(dies_once);

int fails_once(int x, const std::string& path) {
  std::ofstream(path + std::to_string(x), std::ios::app) << 'x';
  if (std::filesystem::file_size(path + std::to_string(x)) == 1) throw std::runtime_error("first");
  return x;
}
HAZ_REMOTE(fails_once);

int waits_until_told(int x) {
  while (!haz::should_stop())
    std::this_thread::sleep_for(1ms);
  return x;
}
HAZ_REMOTE(waits_until_told);

struct Scale {
  int factor = 1;
  int operator()(int x) const { return factor * x; }
  [[nodiscard]] int added(int x) const { return factor + x; }
};
HAZ_REMOTE(Scale::operator());
HAZ_REMOTE(Scale::added);

/// What can't be read where it is negative.
struct Natural {
  int value = 0;
  Natural() = default;
  explicit Natural(int number) : value(number) {}
  Natural(const Natural&) = default;
  ~Natural() = default;
  Natural& operator=(const Natural& other) {
    if (other.value < 0) throw std::invalid_argument("negative");
    value = other.value;
    return *this;
  }
};
auto haz_fields(Natural& n) { return std::tie(n.value); }
struct Counted {
  Natural count{};
  std::string of{};
};
auto haz_fields(Counted& c) { return std::tie(c.count, c.of); }

std::string told(const Counted& items, int number) {
  return std::to_string(items.count.value) + items.of + std::to_string(number);
}
HAZ_REMOTE(told);

std::vector<int> numbers(int count) {
  std::vector<int> items(static_cast<std::size_t>(count));
  std::iota(items.begin(), items.end(), 0);
  return items;
}

template <class T>
std::string error_of(const haz::ref<T>& ref) {
  try {
    (void)haz::get(ref);
  } catch (const haz::error& error) {
    return error.what();
  }
  return "";
}

/// A path that the test alone uses, in a folder that goes with this.
class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / "haz-map-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("no folder");
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] std::string file(const char* name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

TEST(Map, GivesARefForEachItemInOrder) {
  for (const int count : {0, 1, 2, 9, 300, 5000}) {
    const std::vector<haz::ref<int>> refs = haz::task(doubled).map(numbers(count));
    ASSERT_EQ(refs.size(), static_cast<std::size_t>(count));
    const std::vector<int> values = haz::get(refs);
    for (int i = 0; i < count; ++i)
      ASSERT_EQ(values[static_cast<std::size_t>(i)], 2 * i);
  }
}

TEST(Map, EachRefStandsAlone) {
  std::vector<haz::ref<int>> refs = haz::task(doubled).options({.chunksize = 10}).map(numbers(30));
  const haz::ref<int> one = refs[17];
  refs.clear();
  EXPECT_EQ(haz::get(one), 34);
  EXPECT_EQ(haz::get(haz::task(doubled).remote(one)), 68);
}

TEST(Map, ZipsItsRangesUpToTheShortest) {
  const std::vector<std::string> texts = {"a", "b", "c", "d"};
  const auto refs =
      haz::task(joined).map(texts, std::views::iota(1), std::vector{true, false, true});
  EXPECT_EQ(haz::get(refs), (std::vector<std::string>{"a 1 yes", "b 2 no", "c 3 yes"}));
}

TEST(Map, TakesAnyRangeThatCanBeGoneThroughTwice) {
  EXPECT_EQ(haz::get(haz::task(doubled).map(std::deque{1, 2})), (std::vector{2, 4}));
  EXPECT_EQ(haz::get(haz::task(doubled).map(std::forward_list{3, 4})), (std::vector{6, 8}));
  EXPECT_EQ(haz::get(haz::task(doubled).map(std::set{5, 1})), (std::vector{2, 10}));
  const auto even = [](int x) { return x % 2 == 0; };
  EXPECT_EQ(haz::get(haz::task(doubled).map(std::views::iota(0, 7) | std::views::filter(even))),
            (std::vector{0, 4, 8, 12}));
  const std::vector<int> items = {1};
  EXPECT_EQ(haz::get(haz::task(doubled).map(items)), (std::vector{2}));
}

TEST(Map, OfAFunctionThatReturnsNothing) {
  const std::vector<haz::ref<void>> refs = haz::task(nothing_of).map(numbers(1000));
  haz::get(refs);
  haz::get(refs[500]);
}

TEST(Map, OfFunctorsAndMemberFunctions) {
  EXPECT_EQ(haz::get(haz::task(Scale{3}).map(std::vector{1, 2})), (std::vector{3, 6}));
  EXPECT_EQ(haz::get(haz::task(Scale{3}).options({.chunksize = 5}).map(numbers(9))).back(), 24);
  EXPECT_EQ(haz::get(haz::task(&Scale::added).map(std::vector{Scale{1}, Scale{2}}, numbers(2))),
            (std::vector{1, 3}));
}

TEST(Map, FailsOnlyTheItemThatHasThrown) {
  const auto refs = haz::task(refuses_sevens).options({.chunksize = 50}).map(numbers(300));
  for (int i = 0; i < 300; ++i) {
    const haz::ref<int>& ref = refs[static_cast<std::size_t>(i)];
    if (i % 100 == 7) {
      EXPECT_NE(error_of(ref).find("no " + std::to_string(i)), std::string::npos) << error_of(ref);
      EXPECT_THROW((void)haz::get(ref), haz::task_error);
    } else if (i % 100 == 8) {
      EXPECT_NE(error_of(ref).find("int"), std::string::npos) << error_of(ref);
    } else {
      EXPECT_EQ(haz::get(ref), i);
    }
  }
  EXPECT_THROW((void)haz::get(refs), haz::task_error);
}

TEST(Map, ReadsWhatComesAfterAnItemThatCouldNotBeRead) {
  const std::string large(30'000, 'a');
  std::vector<Counted> items;
  for (const int i : numbers(8))
    items.push_back({Natural(i % 3 == 1 ? -1 : i), i % 2 == 0 ? " words " : large});
  const auto refs = haz::task(told).options({.chunksize = 8}).map(items, numbers(8));
  for (const int i : numbers(8)) {
    const auto at = static_cast<std::size_t>(i);
    if (i % 3 == 1) {
      EXPECT_NE(error_of(refs[at]).find("negative"), std::string::npos);
    } else {
      EXPECT_EQ(haz::get(refs[at]), std::to_string(i) + items[at].of + std::to_string(i));
    }
  }
}

TEST(Map, SaysWhereAnItemHasThrown) {
  const auto refs = haz::task(refuses_sevens).options({.chunksize = 9}).map(numbers(9));
  try {
    (void)haz::get(refs[7]);
    FAIL() << "no error";
  } catch (const haz::task_error& error) {
    ASSERT_FALSE(error.stack().empty());
    EXPECT_NE(error.stack().front().find("refuses_sevens"), std::string::npos) << error.what();
    for (const std::string& line : error.stack())
      EXPECT_EQ(line.find("run_items"), std::string::npos) << error.what();
  }
}

TEST(Map, CarriesErrorsThatAreLongerThanAMessage) {
  const auto refs = haz::task(refuses_at_length).options({.chunksize = 20}).map(numbers(20));
  EXPECT_EQ(haz::get(refs[18]), 18);
  for (const std::size_t i : {1U, 19U})
    EXPECT_NE(error_of(refs[i]).find("xxx" + std::to_string(i)), std::string::npos);
}

TEST(Map, TakesAndReturnsLargeValues) {
  std::vector<std::vector<double>> items;
  std::vector<double> with;
  for (int i = 0; i < 40; ++i) {
    // Of some only the one, of some only the other goes through the object store.
    items.emplace_back(i % 3 == 0 ? 20'000 : i % 3 == 1 ? 200 : 2, i);
    with.push_back(0.5);
  }
  const auto refs = haz::task(filled).options({.chunksize = 7}).map(items, with);
  const auto values = haz::get(refs);
  for (std::size_t i = 0; i < items.size(); ++i) {
    ASSERT_EQ(values[i].size(), items[i].size());
    EXPECT_EQ(values[i].back(), static_cast<double>(i) + 0.5);
  }
  const haz::view<double> view = haz::get(haz::ref<haz::view<double>>(refs[39]));
  EXPECT_EQ(view[19'999], 39.5);
  // Results that are small each, and together more than a ring takes.
  const std::vector<std::string> small(300, std::string(500, 'b'));
  const auto many = haz::get(haz::task(repeated).options({.chunksize = 300}).map(small));
  EXPECT_EQ(many, std::vector<std::string>(300, std::string(1000, 'b')));
  std::vector<std::string> texts;
  texts.reserve(50);
  for (int i = 0; i < 50; ++i)
    texts.emplace_back(static_cast<std::size_t>(i) * 97, 'a');
  const auto twice = haz::get(haz::task(repeated).options({.chunksize = 16}).map(texts));
  for (std::size_t i = 0; i < texts.size(); ++i)
    EXPECT_EQ(twice[i], texts[i] + texts[i]);
}

TEST(Map, GetsTheValuesOfRefsEachWhenItIsThere) {
  const haz::ref<void> gate = haz::task(nothing_of).remote(1);
  std::vector<haz::ref<int>> refs = haz::task(refuses_sevens).map(numbers(12));
  refs.push_back(haz::put(50));
  const auto next = haz::task(doubled).options({.chunksize = 100}).map(refs);
  EXPECT_EQ(haz::get(next[6]), 12);
  EXPECT_NE(error_of(next[7]).find("no 7"), std::string::npos) << "of its argument, and only its";
  EXPECT_EQ(haz::get(next[9]), 18);
  EXPECT_EQ(haz::get(next[12]), 100);
  haz::get(gate);
  EXPECT_THROW((void)haz::task(doubled).map(std::vector<haz::ref<int>>(1)), haz::object_lost_error);
}

TEST(Map, OfAFunctionThatTakesOrReturnsRefs) {
  std::vector<haz::ref<int>> refs;
  refs.reserve(40);
  for (int i = 0; i < 40; ++i)
    refs.push_back(haz::put(i));
  const auto values = haz::task(value_of_ref).options({.chunksize = 8}).map(std::move(refs));
  EXPECT_EQ(haz::get(values), numbers(40));
  const auto later = haz::get(haz::task(doubled_later).options({.chunksize = 8}).map(numbers(20)));
  for (std::size_t i = 0; i < later.size(); ++i)
    EXPECT_EQ(haz::get(later[i]), static_cast<int>(2 * i));
}

TEST(Map, InsideATask) {
  EXPECT_EQ(haz::get(haz::task(sum_by_map).remote(3000)), 2999 * 3000L);
  EXPECT_EQ(haz::get(haz::task(sum_by_map).map(std::vector{10, 1000, 0})),
            (std::vector{90L, 999'000L, 0L}));
}

/// Runs of calls that followed each other in one process, from the first item on.
std::vector<int> chunks_of(const std::vector<haz::ref<std::pair<int, int>>>& refs) {
  std::vector<int> sizes;
  std::pair<int, int> last{0, 0};
  for (const auto& place : haz::get(refs)) {
    if (place.first == last.first && place.second == last.second + 1) {
      ++sizes.back();
    } else {
      sizes.push_back(1);
    }
    last = place;
  }
  return sizes;
}

TEST(Map, PutsAsManyItemsIntoATaskAsChunksizeSays) {
  for (const int size : chunks_of(haz::task(place_of).options({.chunksize = 40}).map(numbers(200))))
    EXPECT_EQ(size % 40, 0);
}

/// Of a map of so many items, by two processes.
std::vector<std::size_t> planned(std::size_t count, const haz::task_options& options = {},
                                 bool each_alone = false) {
  const auto known = haz::detail::find_binding(haz::detail::key_of(&doubled));
  const haz::detail::binding to(known->function, options);
  const haz::detail::chunk_plan plan(to, count, each_alone);
  std::vector<std::size_t> sizes;
  for (std::size_t left = count; left != 0; left -= sizes.back())
    sizes.push_back(plan.next(left));
  return sizes;
}

TEST(Map, LeavesSomethingForEveryWorkerUntilTheEnd) {
  for (const std::size_t count : {1U, 8U, 15U}) {
    EXPECT_EQ(planned(count), std::vector<std::size_t>(count, 1)) << "few items";
  }
  for (const std::size_t count : {40U, 1000U, 100'000U}) {
    const std::vector<std::size_t> sizes = planned(count);
    EXPECT_EQ(std::accumulate(sizes.begin(), sizes.end(), std::size_t{0}), count);
    EXPECT_TRUE(std::is_sorted(sizes.rbegin(), sizes.rend()));
    EXPECT_EQ(sizes.front(), std::min<std::size_t>(count / 8, 256)) << "a quarter of its share";
    EXPECT_EQ(sizes[sizes.size() - 8], 1U);
  }
  EXPECT_EQ(planned(1000, {.num_cpus = 2}).front(), 250U) << "one at a time";
  EXPECT_EQ(planned(9, {.chunksize = 4}), (std::vector<std::size_t>{4, 4, 1}));
  EXPECT_EQ(planned(9, {.chunksize = 1}), std::vector<std::size_t>(9, 1));
}

TEST(Map, MakesATaskOfEachItemThatMayWaitOrBeRetriedAlone) {
  const std::vector<std::size_t> alone(500, 1);
  EXPECT_EQ(planned(500, {.chunksize = 9}, true), alone);
  EXPECT_EQ(planned(500, {.timeout_s = 1}), alone);
  EXPECT_EQ(planned(500, {.retry_exceptions = true}), alone);
  EXPECT_EQ(planned(500, {.timeout_s = 1, .chunksize = 250}).size(), 2U);
}

TEST(Map, CallsAllItemsOfAChunkAgainWhereItsProcessHasDied) {
  const Folder folder;
  const std::vector<std::string> paths(10, folder.file("died"));
  const auto refs = haz::task(dies_once).options({.chunksize = 5}).map(numbers(10), paths);
  EXPECT_EQ(haz::get(refs), numbers(10));
  std::filesystem::remove(paths.front());
  const auto fatal =
      haz::task(dies_once).options({.max_retries = 0, .chunksize = 5}).map(numbers(10), paths);
  for (const std::size_t i : {0U, 3U, 4U})
    EXPECT_THROW((void)haz::get(fatal[i]), haz::worker_crashed_error);
  EXPECT_EQ(haz::get(fatal[5]), 5) << "it is of another task";
}

TEST(Map, OfWhatIsRetriedWhenItHasThrownMakesATaskOfEachItem) {
  const Folder folder;
  const std::vector<std::string> paths(30, folder.file("failed"));
  const auto refs =
      haz::task(fails_once).options({.retry_exceptions = true}).map(numbers(30), paths);
  EXPECT_EQ(haz::get(refs), numbers(30));
  EXPECT_EQ(std::filesystem::file_size(paths[0] + "5"), 2U);
  EXPECT_THROW((void)haz::task(doubled).options({.retry_exceptions = true, .chunksize = 2}),
               haz::usage_error);
}

TEST(Map, HasATimeLimitForEachItemOrChunk) {
  const auto refs = haz::task(naps).options({.timeout_s = 1}).map(std::vector{0, 60'000, 0});
  EXPECT_NE(haz::get(refs[0]), 0);
  EXPECT_THROW((void)haz::get(refs[1]), haz::task_timeout_error);
  EXPECT_NE(haz::get(refs[2]), 0);
  const auto chunk =
      haz::task(naps).options({.timeout_s = 1, .chunksize = 3}).map(std::vector{0, 60'000, 0, 0});
  EXPECT_THROW((void)haz::get(chunk[0]), haz::task_timeout_error);
  EXPECT_THROW((void)haz::get(chunk[2]), haz::task_timeout_error);
  EXPECT_NE(haz::get(chunk[3]), 0);
}

TEST(Map, IsCancelledAChunkAtATime) {
  const auto refs = haz::task(waits_until_told).options({.chunksize = 4}).map(numbers(8));
  haz::cancel(refs[1]);
  for (const std::size_t i : {0U, 1U, 3U})
    EXPECT_THROW((void)haz::get(refs[i]), haz::task_cancelled_error);
  EXPECT_THROW((void)haz::get_for(refs[5], 10ms), haz::get_timeout_error);
  haz::cancel(refs[7]);
  EXPECT_THROW((void)haz::get(refs[4]), haz::task_cancelled_error);
}

TEST(Map, ChecksItsOptions) {
  EXPECT_THROW((void)haz::task(doubled).options({.chunksize = std::size_t{1} << 40U}),
               haz::usage_error);
  EXPECT_THROW((void)haz::task(doubled).options({.num_cpus = 1000}).map(numbers(3)),
               haz::infeasible_resources_error);
  const auto two_at_a_time = haz::task(doubled).options({.num_cpus = 2});
  EXPECT_EQ(haz::get(two_at_a_time.map(numbers(1000))).back(), 1998);
}

TEST(Map, WaitsForSomeOfThem) {
  std::vector<haz::ref<int>> pending = haz::task(doubled).map(numbers(500));
  std::size_t found = 0;
  while (!pending.empty()) {
    auto now = haz::wait(pending, 1);
    found += now.ready.size();
    pending = std::move(now.pending);
  }
  EXPECT_EQ(found, 500U);
}

}  // namespace
