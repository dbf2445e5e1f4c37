"""The in-context tasks of `general` with other examples: `_1shot_seed1` to `_4shot_seed4`.

    medmt5 eval ... --gin.MIXTURE_OR_TASK_MODULE="'medmt5.tasks.in_context_seeds'" \\
        --gin.MIXTURE_OR_TASK_NAME="'in_context_1shot_seed1'"

`medmt5 report 'a=runs/a-shots*'` gives mean and deviation over them. For more, call
`general.register` in a module of your own.
"""

from medmt5.tasks import general

for seed in range(1, 5):
    for shots in (1, 4):
        general.register(shots, seed)
