# The one entry point. Each target does the set-up it needs; a second run re-does nothing that is
# up to date. `make` alone prints what there is.

PYTHON ?= python3
VENV ?= .venv
JOBS ?= $(shell nproc)
PYTEST_ARGS ?=
# Tests of processes mostly wait for them: more at a time than there are cores.
TEST_JOBS ?= $(shell expr $(JOBS) \* 2)
PYTEST_JOBS = -n $(TEST_JOBS) --dist worksteal
CTEST_ARGS ?=
BENCH_ARGS ?=
PYTHONS ?= 3.10 3.11 3.12 3.13
REQUIREMENTS ?= requirements/dev.txt
# The build folder whose core the extension module takes, for full test runs; empty: its own.
CORE_FROM ?=
HAZ_TEST_SEEDS ?=
ifneq ($(HAZ_TEST_SEEDS),)
export HAZ_TEST_SEEDS
endif

# Without any Python at all the set-up must come first: the names below depend on its version.
ifneq ($(filter-out help clean distclean,$(MAKECMDGOALS)),)
ifeq ($(shell command -v $(PYTHON)),)
$(info $(shell scripts/bootstrap.sh $(PYTHON)))
endif
endif

# One build folder for each Python. A virtual environment without activation: call its programs.
TAG := $(shell $(PYTHON) -c 'import sys; print("cp%d%d" % sys.version_info[:2])' 2>/dev/null)
BUILD := build/$(or $(TAG),none)
BIN := $(CURDIR)/$(VENV)/bin
CMAKE := $(BIN)/cmake
CTEST := $(BIN)/ctest --output-on-failure --no-tests=ignore -j$(JOBS)
NINJA_FLAGS := -G Ninja -DCMAKE_MAKE_PROGRAM=$(BIN)/ninja
LOCKED := flock $(BUILD)/.lock
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: FORCE help build ext demo walk test test-cpp test-python test-packages test-all test-slow test-asan test-tsan test-asan-python \
        test-python-% bench lint lint-cpp lint-python checkheaders format docs clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' Makefile
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) JOBS=$(JOBS) TEST_JOBS=$(TEST_JOBS) PYTEST_ARGS= CTEST_ARGS= BENCH_ARGS= HAZ_TEST_SEEDS="

# ---- set-up ----------------------------------------------------------------------------------
build/.bootstrap: scripts/bootstrap.sh
	@scripts/bootstrap.sh $(PYTHON)
	@mkdir -p build && touch $@

$(VENV)/.installed: $(REQUIREMENTS) requirements/test.txt | build/.bootstrap
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -r $(REQUIREMENTS)
	@# setuptools brings a .pth file that every start of the interpreter would pay for.
	@$(BIN)/python -m pip uninstall -qy setuptools
	@# A line in a .pth file makes python/ importable; no import hook slows `import haz` down.
	@$(BIN)/python -c 'import sysconfig; print("$(CURDIR)/python")' \
	  > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/haz_in_place.pth"
	@printf '#!/bin/sh\nexec "$$(dirname "$$0")/python" -m haz "$$@"\n' > $(BIN)/haz && chmod +x $(BIN)/haz
	@touch $@

# Written anew where it says something else, so that nobody links a core by accident.
$(BUILD)/.core_from: FORCE
	@mkdir -p $(BUILD) && echo "$(CORE_FROM)" | cmp -s - $@ || echo "$(CORE_FROM)" > $@

# Configured once, with the tests or not; CMake configures again by itself when its files change.
$(BUILD)/build.ninja: Makefile $(VENV)/.installed $(BUILD)/.core_from
	@$(BIN)/python -c 'import sys; sys.exit("cp%d%d" % sys.version_info[:2] != "$(TAG)")' || \
	  { echo "$(VENV) holds another Python than $(PYTHON): add VENV=.venv-other, or make distclean"; exit 1; }
	@$(LOCKED) $(CMAKE) -S . -B $(BUILD) $(NINJA_FLAGS) -DPython_EXECUTABLE=$(BIN)/python \
	  -DHAZ_INPLACE=ON -DHAZ_BUILD_TESTS=$(or $(BUILD_TESTS),ON) -DHAZ_CORE_FROM=$(CORE_FROM) \
	  -DHAZ_PRECOMPILED=$(if $(CORE_FROM),ON,OFF) -Wno-dev --no-warn-unused-cli >/dev/null
	@touch $@

build: $(BUILD)/build.ninja ## virtual environment, extension module, C++ tests
	@$(LOCKED) $(CMAKE) --build $(BUILD) -j $(JOBS)

ext: $(BUILD)/build.ninja ## only the extension module, into python/haz: the quick rebuild
	@$(LOCKED) $(CMAKE) --build $(BUILD) -j $(JOBS) --target extension

# ---- run -------------------------------------------------------------------------------------
demo: ext ## the main job: analyse the whole Python standard library
	@$(BIN)/python examples/python/analyze_stdlib.py

walk: ext ## follow one task through every file it passes
	@$(BIN)/python -m haz.cli.walk examples/python/hello.py

# ---- test ------------------------------------------------------------------------------------
test: test-cpp test-python ## all tests, C++ and Python

test-cpp: build
	@$(CTEST) --test-dir $(BUILD) $(CTEST_ARGS)

test-python: ext
	@$(BIN)/python -m pytest $(PYTEST_JOBS) -m "not slow" $(PYTEST_ARGS)

# The full tier. Each part stands alone: `make test-python-3.12`, `make test-tsan`, `make test-slow`.
test-all: ## all tests on four Pythons, ASan+UBSan and TSan, long seeds
	@$(MAKE) --no-print-directory test HAZ_TEST_SEEDS=$(or $(HAZ_TEST_SEEDS),500)
	@$(MAKE) --no-print-directory test-slow HAZ_TEST_SEEDS=$(or $(HAZ_TEST_SEEDS),100)
	@$(MAKE) --no-print-directory test-asan test-tsan HAZ_TEST_SEEDS=$(or $(HAZ_TEST_SEEDS),50)
	@$(MAKE) --no-print-directory $(addprefix test-python-,$(OTHER_PYTHONS))
	@$(MAKE) --no-print-directory test-packages

test-slow: ext ## the tests that `make test` leaves out
	@$(BIN)/python -m pytest $(PYTEST_JOBS) -m slow $(PYTEST_ARGS)

# With the core of the first Python's build; what says the same on each Python is left to `make test`.
OWN_PYTHON = $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
OTHER_PYTHONS = $(filter-out $(OWN_PYTHON),$(PYTHONS))
test-python-%: ext
	@python="$$(scripts/find_python.sh $*)"; \
	if [ "$*" = "$(OWN_PYTHON)" ]; then echo "that is $(PYTHON): make test-python"; exit 2; fi; \
	if [ -z "$$python" ]; then echo "test-all: no Python $* here, left out"; exit 0; fi; \
	echo "== Python $*"; \
	$(MAKE) --no-print-directory ext PYTHON="$$python" VENV=.venv-$* BUILD_TESTS=OFF \
	  REQUIREMENTS=requirements/test.txt CORE_FROM=$(CURDIR)/$(BUILD) && \
	.venv-$*/bin/python -m pytest -q $(PYTEST_JOBS) -m "not slow and not one_python" $(PYTEST_ARGS)

# In an environment of their own: they are large, and say what else has to be installed.
.venv-packages/.installed: requirements/packages.txt | build/.bootstrap
	@test -x .venv-packages/bin/python || $(PYTHON) -m venv .venv-packages
	@.venv-packages/bin/python -m pip install -q -r requirements/packages.txt
	@.venv-packages/bin/python -c 'import sysconfig; print("$(CURDIR)/python")' \
	  > "$$(.venv-packages/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/haz_in_place.pth"
	@touch $@

test-packages: ext .venv-packages/.installed ## packages written for Ray (Modin, Hamilton), and dask, on haz
	@.venv-packages/bin/python -m pytest -q tests/packages $(PYTEST_ARGS)

test-asan: SANITIZE := address,undefined
test-tsan: SANITIZE := thread
test-asan test-tsan: test-%: $(VENV)/.installed
	@echo "== sanitizers: $(SANITIZE)"
	@$(CMAKE) -S . -B build/$* $(NINJA_FLAGS) -DHAZ_SANITIZE=$(SANITIZE) -DHAZ_BUILD_TESTS=ON \
	  -DHAZ_PRECOMPILED=ON -DHAZ_BUILD_PYTHON=OFF -Wno-dev --no-warn-unused-cli >/dev/null
	@$(CMAKE) --build build/$* -j $(JOBS)
	@ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1 \
	 UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=second_deadlock_stack=1:handle_segv=0 \
	 $(CTEST) --test-dir build/$* $(CTEST_ARGS)

# The bindings, with Python's own objects on the checked heap. The sanitized module lies in a package beside the
# real one, made of links; a report is a failure whichever process wrote it.
# Left out is what the sanitizer's own memory, descriptors and libraries change.
NOT_SANITIZED = test_zygote_copy.py test_faults_driver.py::test_many_inits_and_shutdowns \
  test_faults_memory.py::test_few_descriptors test_faults_memory.py::test_little_address_space \
  test_faults_memory.py::test_the_limit_is_named_that_is_too_low \
  test_faults_workers.py::test_a_task_writes_without_end test_programs.py::test_no_threads_to_be_had
ASAN_LIBRARIES = $(foreach name,asan ubsan stdc++,$(shell $(CXX) -print-file-name=lib$(name).so))
test-asan-python: ext ## the Python tests that start processes, with the extension module under ASan+UBSan
	@$(CMAKE) -S . -B build/asan $(NINJA_FLAGS) -DHAZ_SANITIZE=address,undefined -DHAZ_BUILD_TESTS=ON -DHAZ_PRECOMPILED=ON \
	  -DHAZ_BUILD_PYTHON=ON -DPython_EXECUTABLE=$(BIN)/python -Wno-dev --no-warn-unused-cli >/dev/null
	@$(CMAKE) --build build/asan -j $(JOBS) --target extension
	@rm -rf build/asan/python build/asan/report.* && mkdir -p build/asan/python/haz build/asan/build && \
	  ln -sfn $(CURDIR)/include build/asan/include && ln -sfn $(CURDIR)/$(BUILD) build/asan/$(BUILD) && \
	  cd build/asan/python/haz && ln -s \
	  $(filter-out %.so,$(wildcard $(CURDIR)/python/haz/*)) ../../module/_native*.so .
	@LD_PRELOAD="$(ASAN_LIBRARIES)" PYTHONMALLOC=malloc PYTHONPATH=$(CURDIR)/build/asan/python \
	 ASAN_OPTIONS=detect_leaks=0:handle_segv=0:allocator_may_return_null=1:log_path=$(CURDIR)/build/asan/report \
	 UBSAN_OPTIONS=print_stacktrace=1:log_path=$(CURDIR)/build/asan/report \
	 $(BIN)/python -m pytest -q $(PYTEST_JOBS) -m "not slow" $(NOT_SANITIZED:%=--deselect=tests/python/native/%) \
  $(or $(PYTEST_ARGS),tests/python/native tests/contract --maxfail=20)
	@! cat build/asan/report.* 2>/dev/null

# ---- measure ---------------------------------------------------------------------------------
# The benchmark runs what users get: the wheel, built with LTO, in an environment of its own.
SHIPPED = $(shell find src include bindings python cmake CMakeLists.txt pyproject.toml \
  -type f ! -name '*.pyc' ! -name '_native*' ! -name '.*' 2>/dev/null)

.venv-bench/.installed: requirements/bench.txt | build/.bootstrap
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install -q -r requirements/bench.txt
	@touch $@

.venv-bench/.haz: .venv-bench/.installed $(SHIPPED)
	.venv-bench/bin/python -m pip install -q --no-build-isolation --no-deps --force-reinstall .
	@touch $@

bench: .venv-bench/.haz ## side by side with Ray, Pool, joblib, Dask (BENCH_ARGS="--row NAME")
	@.venv-bench/bin/python -m benchmarks $(BENCH_ARGS)

# ---- check -----------------------------------------------------------------------------------
lint: lint-python lint-cpp ## ruff, mypy, clang-format, clang-tidy, each header alone

CPP_FILES = $(shell find src include bindings tests benchmarks examples -type f \
  \( -name '*.cpp' -o -name '*.h' \) 2>/dev/null)
TIDY_FILES = $(shell find src bindings -type f -name '*.cpp' 2>/dev/null)

lint-python: ext
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@MYPYPATH=python $(BIN)/mypy

lint-cpp: checkheaders
	@$(if $(CPP_FILES),$(BIN)/clang-format --dry-run -Werror $(CPP_FILES))
	@$(BIN)/python scripts/tidy.py --build $(BUILD) --jobs $(JOBS) $(TIDY_FILES)

checkheaders: $(BUILD)/build.ninja
	@$(LOCKED) $(CMAKE) --build $(BUILD) -j $(JOBS) --target checkheaders -- -k 0

format: $(VENV)/.installed ## write the format that lint asks for
	@$(BIN)/ruff check -q --fix-only .
	@$(BIN)/ruff format .
	@$(if $(CPP_FILES),$(BIN)/clang-format -i $(CPP_FILES))

docs: ext ## check that the documentation's names and examples hold
	@$(BIN)/python -m pytest -q tests/tidy tests/e2e/test_docs.py tests/e2e/test_walk.py

clean: ## remove what was built (keeps the virtual environments)
	rm -rf build/cp* build/asan build/tsan build/wheel-* dist python/haz/_native*.so \
	  python/haz/_native.pyi .pytest_cache .mypy_cache .ruff_cache .hypothesis

distclean: clean ## remove everything that git does not track
	rm -rf build .venv .venv-*
