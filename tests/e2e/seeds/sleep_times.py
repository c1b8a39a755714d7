import time
import haz as ray
import concurrent.futures
Stime = time.perf_counter()
tasks = []
sleepTimes = [0.1, 0.2, 0.1, 0.5, 0.7, 0.9, 0.5,
0.4, 1.5, 1.3, 1.0, 0.3, 0.7, 0.6, 0.3, 0.8]
print(f"Total time of sleep: {sum(sleepTimes)} for {len(sleepTimes)} tasks")
# Start Ray.
ray.init()
@ray.remote #convert to a function that can be executed remotely and asynchronously
def my_awesome_function(sleepTime=0.1):
    time.sleep(sleepTime)
    return f"Sleep time {sleepTime}"
tasks = []
for sleep in sleepTimes:
    tasks.append(my_awesome_function.remote(sleep))
all_results = ray.get(tasks)
print(f"Finished in {time.perf_counter()-Stime:.2f}")
