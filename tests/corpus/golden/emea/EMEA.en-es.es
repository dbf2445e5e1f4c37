El medicamento se administra por vía oral y la dosis depende de la edad del paciente.

El medicamento se administra, por vía oral, y la dosis depende de la edad del paciente
10 20 30 40 50 60 70 80 90 100 mg ml
Entre los efectos adversos de la vacuna están la fiebre y el dolor de cabeza durante dos días.
