#include "ledger.h"

#include <stdexcept>

double ledger::add(haz::view<double> amounts) {
  for (int i = 0; i < amounts.size(); ++i)
    sum_ += amounts[i];
  return sum_;
}

double ledger::fail() { throw std::out_of_range("no such page"); }

HAZ_ACTOR(ledger(double sum), &ledger::add, &ledger::fail);
HAZ_PARAMETERS(ledger::add, amounts);
