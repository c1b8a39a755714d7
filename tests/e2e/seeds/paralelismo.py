import haz.multiprocessing as multiprocessing
import os
import time
from time import sleep


class Temporizador:
    def __enter__(self):
        self.inicio = time.perf_counter()
        return self

    def __exit__(self, *_):
        self.fin = time.perf_counter()

    def ver_tiempo(self):
        return self.fin - self.inicio


def f(x):
    sleep(5)
    print(x)

p1 = multiprocessing.Process(target=f, args=("Process 1",))
p2 = multiprocessing.Process(target=f, args=("Process 2",))

with Temporizador() as temp:
    p1.start()
    p2.start()
    p1.join()
    p2.join()

print(f"Tiempo total: {temp.ver_tiempo():.4f} s")

def factorial(x):
    f = 1
    i = x
    while i > 0:
        f *= i
        i -=1
    return f

def tarea(inicio, fin):
    lista = [factorial(x) for x in range(inicio, fin)]

with Temporizador() as temp:
    tarea(1000, 2000)

print(f"Tiempo en un único thread: {temp.ver_tiempo():.4f} s")

t1 = multiprocessing.Process(target=tarea, args=(1000, 1500))
t2 = multiprocessing.Process(target=tarea, args=(1500, 2000))

with Temporizador() as temp:
    t1.start()
    t2.start()
    t1.join()
    t2.join()

print(f"Tiempo en dos procesos: {temp.ver_tiempo():.4f} s")

def pid(x):
    sleep(3)
    print(f"Proceso {x}, PID: {os.getpid()}\n")

t1 = multiprocessing.Process(target=pid, args=(1,))
t2 = multiprocessing.Process(target=pid, args=(2,))

t1.start()
t2.start()
t1.join()
t2.join()

print(f"Proceso general, PID: {os.getpid()}")

with Temporizador() as temp:
    with multiprocessing.Pool(processes=2) as pool:
        resultado3 = pool.map(factorial, range(1000, 2000))

print(f"Tiempo en dos procesos: {temp.ver_tiempo():.4f} s")

procesos = multiprocessing.cpu_count()

with Temporizador() as temp:
    with multiprocessing.Pool(processes=procesos) as pool:
        resultado3 = pool.map(factorial, range(1000, 2000))

print(f"Tiempo en {procesos} procesos: {temp.ver_tiempo():.4f} s")

procesos = 2*multiprocessing.cpu_count()

with Temporizador() as temp:
    with multiprocessing.Pool(processes=procesos) as pool:
        resultado3 = pool.map(factorial, range(1000, 2000))

print(f"Tiempo en {procesos} procesos: {temp.ver_tiempo():.4f} s")

def f(x):
    sleep(1.5)
    print(x)

with Temporizador() as temp:
    with multiprocessing.Pool(processes=2) as pool:
        pool.apply(f, ("Tarea 1",))
        pool.apply(f, ("Tarea 2",))

print(f"Tiempo en dos procesos: {temp.ver_tiempo():.4f} s")

with Temporizador() as temp:
    with multiprocessing.Pool(processes=2) as pool:
        pool.apply_async(f, ("Tarea 1",))
        pool.apply(f, ("Tarea 2",))

print(f"Tiempo en dos procesos: {temp.ver_tiempo():.4f} s")

def f(x):
    sleep(0.2)
    print(f"{x}, {os.getpid()}\n")

with multiprocessing.Pool(2) as pool:
    pool.apply_async(f, (1,))
    pool.apply_async(f, (2,))

print("sleep(0.3)")
with multiprocessing.Pool(2) as pool:
    pool.apply_async(f, (1,))
    pool.apply_async(f, (2,))
    sleep(0.3)

print("wait()")
with multiprocessing.Pool(2) as pool:
    a1 = pool.apply_async(f, (1,))
    a2 = pool.apply_async(f, (2,))
    a1.wait()
    a2.wait()

def f(x):
    sleep(0.2)
    return x**2

with multiprocessing.Pool(2) as pool:
    v = pool.apply_async(f, (5,))
    sleep(0.4)

print(v)
print(v.get())

with multiprocessing.Pool(2) as pool:
    v = pool.apply_async(f, (5,))
    v_res = v.get()

print(v_res)

with multiprocessing.Pool(2) as pool:
    v = pool.apply_async(f, (5,))

print(v)
print(v.get())
