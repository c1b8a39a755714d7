import time

def func(x):
    time.sleep(3)
    return x

begin_time = time.time() #Heure de début d'enregistrement

res1, res2 = func(1), func(2) #Appeler func deux fois
print(res1, res2)  #production: 1 2

end_time = time.time() #Enregistrez l'heure de fin

print(end_time - begin_time) #Environ 6 secondes

import haz as ray

# ray.init()Si vous ne spécifiez pas explicitement comme, le nombre de ressources sera déterminé automatiquement.
ray.init(num_cpus=4)

#Attendez un peu que Ray démarre pour une mesure du temps plus précise
time.sleep(1)

@ray.remote
def func(x):
    time.sleep(3)
    return x

begin_time = time.time()
res1, res2 = func.remote(1), func.remote(2)
print(res1) #Exemple de sortie: ObjectID(45b9....) 

print(ray.get(res1), ray.get(res2)) #production: 1 2

# ray.get peut aussi recevoir une liste
print(ray.get([res1, res2])) #production: [1, 2]

end_time = time.time()
print(end_time - begin_time) #Environ 3 secondes

@ray.remote
def func1(x):
    time.sleep(1)
    return x * 2

@ray.remote
def func2(x):
    time.sleep(1)
    return x + 1

vec = [1, 2, 3, 4]
results = []

for x in vec:
    res = func1.remote(x)  #objectID est inclus dans res
    res = func2.remote(res) #Passez l'ObjectID tel quel à la fonction distante suivante
    results.append(res)

#results est une liste d'ObjectID
print(ray.get(results)) #production: [3, 5, 7, 9]

@ray.remote
def func2(x):
    x = func1.remote(x)  #ObjectID renvoyé
    time.sleep(1)
    return ray.get(x) + 1 #Parce qu'il ne peut pas être ajouté directement à l'ID d'objet, ray.Obtenez puis calculez

print(ray.get([func2.remote(x) for x in vec])) #production: [3, 5, 7, 9]

@ray.remote
class Counter:
    def __init__(self, init_val, sleep=True):
        #Compteur d'initiation_Initialiser avec val
        self.count = init_val
        self.sleep = sleep

    def increment(self):
        if self.sleep:
            time.sleep(1)
        self.count += 1
        return self.count

#Créer des compteurs avec des valeurs initiales de 0 et 100
counter1, counter2 = Counter.remote(0), Counter.remote(100)

results = []
for _ in range(3):
    results.append(counter1.increment.remote())
    results.append(counter2.increment.remote())

print(ray.get(results)) #production: [1, 101, 2, 102, 3, 103]

@ray.remote
def incrementer(counter, id, times):
    #Incrément de fois chaque seconde
    for _ in range(times):
        cnt = counter.increment.remote()
        print(f'id= {id} : count = {ray.get(cnt)}')
        time.sleep(1)

counter = Counter.remote(0, sleep=False) #Un compteur où un incrément se termine en un instant

incrementer.remote(counter, id=1, times=5)
time.sleep(0.5)  #Début 0.Décalage de 5 secondes
inc = incrementer.remote(counter, id=2, times=5)

ray.wait([inc]) #Sera expliqué ensuite,Fonction d'attendre la fin

@ray.remote
def sleep(x):
    #Une fonction qui se repose pendant x secondes et renvoie x
    time.sleep(x)
    return x

ids = [sleep.remote(3), sleep.remote(5), sleep.remote(2)]
finished_ids, running_ids = ray.wait(ids, num_returns=2, timeout=None)

print(ray.get(finished_ids)) #production(Après 3 secondes): [3,2] 
print(ray.get(running_ids))  #production(Après 5 secondes): [5]

@ray.remote
def func4(obj, idx):
    time.sleep(1)
    return idx

# big_Laisser objet être un gros objet
big_object = None

big_obj_id = ray.put(big_object)

# func.remote()Est appelé quatre fois,Je passe l'ID d'objet, donc c'est encore gros_La copie de l'objet ne se produit pas
results = [func4.remote(big_obj_id, i) for i in range(4)]

print(ray.get(results)) #production: [0, 1, 2, 3]
