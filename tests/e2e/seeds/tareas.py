# Librerias basicas
import time
import haz as ray
import numpy as np
# Caracteristicas del Cluster
num_cores=4

# La función:
def hacer_algo(x):
    time.sleep(1) # Reemplazar esto por sus tareas
    return x
inicio = time.time()
resultados = []
# Ejecuto la función una vez por cada CPU:
for x in range(num_cores):
    resultados.append(hacer_algo(x))
print("duracion =", time.time() - inicio, "\nresultados = ", resultados)

# Inicializacion Instancia Ray
# Nota: Si se ejecuta ray.init dos veces, se produce un error.
ray.init(num_cpus = num_cores)

# La función con el Decorador:
@ray.remote
def hacer_algo(x):
    time.sleep(1) # Reemplazar esto por sus tareas
    return x
inicio = time.time()
resultados = []
# Ejecuto la función una vez por cada CPU remota:
for x in range(num_cores):
    resultados.append(hacer_algo.remote(x))
print("duracion =", time.time() - inicio, "\nresultados = ", resultados)

inicio = time.time()
resultados = []
# Ejecuto la función una vez por cada CPU remota:
for x in range(num_cores):
    resultados.append(ray.get(hacer_algo.remote(x)))
print("duracion =", time.time() - inicio, "\nresultados = ", resultados)

cant_tareas=20000
# La función "hacer_algo_chico" con el Decorador:
@ray.remote
def hacer_algo_chico(x):
    time.sleep(0.0001) # Reemplazar por tu función
    return x
inicio = time.time()
resultados_ids = []
# Ejecuto la función una vez por cada CPU remota:
for x in range(cant_tareas):
    resultados_ids.append(hacer_algo_chico.remote(x))
resultado=ray.get(resultados_ids)
print("duracion =", time.time() - inicio)

#Función mayor que engloba:
@ray.remote
def hacer_algo_grande(inicio, fin):
    resultados = []
    for x in range(inicio,fin):
        resultados.append(hacer_algo_chico.remote(x))
    return resultados
# Main:
inicio = time.time()
resultados_ids = []
iterac=int(cant_tareas/1000)
for x in range(iterac):
    resultados_ids.append(hacer_algo_grande.remote(x*int(cant_tareas/iterac), (x+1)*int(cant_tareas/iterac)))
resultados = ray.get(resultados_ids)
print("duracion =", time.time() - inicio)

# Funcion que no hace nada
@ray.remote
def hacer_nada(x):
    return x 
# Main;
inicio = time.time()
resultados_ids = []
for x in range(cant_tareas):
    resultados_ids.append(hacer_nada.remote(x))
resultados = ray.get(resultados_ids)
print("Sobregarga por tarea (ms) =", (time.time() - inicio)*1000/cant_tareas)
