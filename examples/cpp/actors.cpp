// Objects in processes of their own: an account, and what several tasks do with it at a time.
#include <haz/haz.h>

#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

class account {
 public:
  explicit account(double balance) : balance_(balance) {}

  double deposit(double amount) { return balance_ += amount; }
  double withdraw(double amount) {
    if (amount > balance_) throw std::invalid_argument("not enough money");
    return balance_ -= amount;
  }
  [[nodiscard]] double balance() const { return balance_; }

 private:
  double balance_;
};
HAZ_ACTOR(account(double), &account::deposit, &account::withdraw, &account::balance);

// A handle can be passed on; calls of all who have one run one after the other.
void save(const haz::actor<account>& to, int times) {
  for (int i = 0; i < times; ++i)
    haz::get(to.call(&account::deposit, 1));
}
HAZ_REMOTE(save);

int main(int argc, char** argv) {
  const auto runtime = haz::init(argc, argv, {.num_cpus = 4});
  const haz::actor<account> savings =
      haz::actor_of<account>().options({.name = "savings", .max_restarts = 1}).remote(100);

  std::vector<haz::ref<void>> savers;
  for (int i = 0; i < 4; ++i)
    savers.push_back(haz::task(save).remote(savings, 25));
  haz::get(savers);
  std::printf("saved: %g\n", haz::get(savings.call(&account::balance)));

  try {
    haz::get(haz::get_actor<account>("savings").call(&account::withdraw, 1000));
  } catch (const haz::task_error& error) {
    std::printf("%s: %s\n", error.task_name().c_str(), error.message().c_str());
  }
}
