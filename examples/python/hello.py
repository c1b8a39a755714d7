"""One task, from the call to its result. `make walk` shows the files that it passes through."""

import haz


@haz.remote
def hello(name):
    return f"hello, {name}"


ref = hello.remote("world")  # starts haz at the first use; returns at once
print(ref)  # a handle of a value that will exist later
print(haz.get(ref))  # waits for the value
