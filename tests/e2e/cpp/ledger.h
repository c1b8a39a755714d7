// A class that lies in a shared library, which programs of C++ and of Python use.
#pragma once

#include <haz/haz.h>

class ledger {
 public:
  explicit ledger(double sum) : sum_(sum) {}
  double add(haz::view<double> amounts);
  double fail();

 private:
  double sum_;
};
