"""Spanish: see `en` for the notation.

`{o.the}` writes the article, `{o.of}` "del / de la", `{o.to}` "al / a la", `{p.a}` "un / una";
`[o|a]` agrees with the last noun written, `<o|a>` with the patient.
"""

DECIMAL = ","

ABBREVIATIONS = {
    "train": "HTA DM2 EPOC ERC FA ICC ERGE ITU",
    "dev": "TBC AR LES",
    "test": "EM SAOS SOP EVP SII EHNA CI",
}

WORDS = {
    "s": """cefalea; dolor abdominal; náuseas; vómitos; dificultad respiratoria; fiebre; mareo;
        cansancio; sudoración nocturna; pérdida de peso; dolor torácico; tos productiva;
        visión borrosa; prurito; palpitaciones; pérdida de apetito; dolor de espalda; palidez;
        hinchazón de tobillos; hormigueo en las manos; debilidad muscular; dolor de garganta;
        dificultad para tragar; ronquera; estreñimiento; somnolencia""",
    "o": """hígado/m; bazo/m; riñón izquierdo/m; pulmón derecho/m; estómago/m; glándula tiroides/f;
        páncreas/m; aorta/f; ventrículo izquierdo/m; vejiga/f; vesícula biliar/f; pierna/f;
        columna cervical/f; pared abdominal/f; colon/m; piel del tronco/f; ojo derecho/m;
        intestino delgado/m; rodilla/f; cadera/f; nervio óptico/m; arteria femoral/f""",
    "f": """función renal/f; mucosa gástrica/f; perfusión cerebral/f; auscultación pulmonar/f;
        tamaño hepático/m; ritmo cardíaco/m; captación tiroidea/f; ecogenicidad hepática/f;
        vía biliar/f; médula espinal/f; tono muscular/m; contorno esplénico/m; cavidad uterina/f;
        flujo coronario/m; tránsito intestinal/m; conducto pancreático/m; raíz aórtica/f;
        movilidad laríngea/f""",
    "p": """radiografía de tórax/f; hemograma/m; electrocardiograma/m; punción lumbar/f;
        ecografía renal/f; biopsia hepática/f; resonancia cerebral/f; prueba de esfuerzo/f;
        gammagrafía ósea/f; urocultivo/m; cateterismo cardíaco/m; exploración física/f;
        TAC abdominal/m; espirometría/f; hemocultivo/m; prueba cutánea/f""",
    "pa": """tomografía computarizada (TC)/f; resonancia magnética (RM)/f;
        electroencefalograma (EEG)/m; tomografía por emisión de positrones (PET)/f""",
    "pb": """fracción de eyección (FE)/f; índice de masa corporal (IMC)/m;
        velocidad de sedimentación globular (VSG)/f; presión arterial (PA)/f""",
    "xb": "TAC/m; ECG/m; EEG/m; PCR/f; RMN/f; IMC/m; VSG/f",
    "t": """hace tres días; la semana pasada; en marzo; en 2019; durante la noche; en primavera;
        dos semanas tras la cirugía; a los 40 años; después de un viaje a Kenia; al cuarto día""",
    "td": """desde la infancia; desde hace dos meses; en el último año; desde enero;
        desde hace unos diez años; durante tres días; desde el verano pasado""",
    "q": """una vez al día; dos veces al día; cada ocho horas; por la noche; antes de las comidas;
        una vez por semana; con el desayuno; si precisa; durante siete días; durante tres meses""",
    "r": """por vía oral; por vía intravenosa; por vía subcutánea; por vía intramuscular;
        en infusión lenta""",
    "dose": "5 mg; 10 mg; 20 mg; 40 mg; 50 mg; 100 mg; 250 mg; 500 mg; 1 g; 2 mg/kg; 75 mcg",
    "dr": """Dr. Arrieta/m; Dra. Quintana/f; Dr. Salvatierra/m; Dra. Montes/f; Dr. Peñalver/m;
        Dra. Iturbe/f""",
    "h": """Hospital del Norte/m; Clínica San Telmo/f; Centro Médico Ribera/m;
        Servicio de Urgencias/m;
        Hospital Reina Urraca/m; Servicio de Cirugía/m; Clínica Las Encinas/f""",
    "city": "Sevilla; Bilbao; Valencia; Lima; Bogotá; Zaragoza; Oviedo; Montevideo",
    "fam": "padre/m; madre/f; hermano/m; hermana/f; abuela/f; tía/f; tío/m; primo/m",
    "sc": """escala de Glasgow/f; puntuación de Apgar/f; índice de Barthel/m;
        índice de Karnofsky/m; escala de Child-Pugh/f""",
    "sg": "signo de Murphy/m; signo de Babinski/m; prueba de Romberg/f; signo de Kernig/m",
    "dv": "sonda de Foley/f; catéter de Swan-Ganz/m; Holter/m; catéter de Hickman/m",
    "job": """<enfermero|enfermera>; <maestro|maestra>; agricultor/m; conductor/m;
        <panadero|panadera>; <minero jubilado|minera jubilada>; estudiante; dependiente;
        <cocinero|cocinera>""",
    "bug": """Escherichia coli; Staphylococcus aureus; Candida albicans; Klebsiella oxytoca;
        Proteus mirabilis""",
    "lab": """hemoglobina {#.8-16} g/dL; creatinina {#.1-4} mg/dL; plaquetas {#90-420} x 10^9/L;
        glucosa {#60-310} mg/dL; PCR {#2-190} mg/L; albúmina {#.2-5} g/dL;
        bilirrubina {#.1-9} mg/dL; leucocitos {#3-22} x 10^9/L; ferritina {#5-600} ng/mL;
        TSH {#.1-9} mUI/L""",
    "noun": """comprimido/m; cápsula/f; solución inyectable/f; suspensión oral/f;
        comprimido recubierto/m; sobre/m""",
}

FRAMES = {
    "train": """
<Varón|Mujer> de {#20-79} años con antecedentes de {D} y {D} que <ingresó|fue remitida> {t} por {s}
  y {s}.
<El|La> paciente fue <diagnosticado|diagnosticada> de {D} {t} y {fue|ha sido} <tratado|tratada> con
  {C} {dose} {q}.
Antecedentes personales: {AB} {AB}, {D}, {p} {t}.
Antecedentes de {AB}, {AB} y {D}; sin alergias conocidas.
{Toma|Tomaba} {C} {dose}, {C} y {C} {dose} {q}.
Medicación actual: {C} {dose} {C} {dose} {q}, {C} {dose}.
Tratamiento domiciliario: {C} {C} {dose} y {E} {q}.
{p.the} mostró {D} en {o.the} sin afectación {o.of}.
Se {inició|suspendió} {C} {t} debido a {D.the}.
Su {fam} {tuvo|murió de} {D} y otro familiar tiene {D}.
Niega {s}, {s} o {s}.
{p.the} fue normal y {o.the} no presentaba alteraciones.
Analítica: {lab}, {lab}, {e} sérico {#20-150} mcg/dL, {lab}.
El {e} sérico fue de {#20-150} mcg/dL y {lab}.
Se administraron suplementos de {E} {r} para corregir {D.the}.
La batería de {e} del marcapasos se cambió en {h.the} {t}.
{dr.the} retiró una placa de {e} {o.of}.
{DA.the} es una causa {frecuente|rara} de {s} en adultos.
<Fue seguido|Fue seguida> en {h.the} de {city} por {DA}, con tratamiento con {C}.
Se sospechó {D} [inducido|inducida] por {C}, por lo que el fármaco se sustituyó por {C}.
Tras {#2-9} días de {C} {dose} {r}, {mejoró|desapareció} el síntoma inicial ({s}).
{dr.the}, de {h.the}, {solicitó|revisó} {p.the} y {pa.the}.
{pa.the} descartó {D} y {D}.
No había signos de {D} en {xb.the}.
{f.the} estaba [conservado|conservada] y {sc.the} era de {#1-15}.
<El|La> paciente, {job} de {city}, refería {s} {td}.
En el cultivo creció {bug}, por lo que se añadió {C} {C.to}.
Presentamos un caso de {D} [asociado|asociada] a {D} en <un varón|una mujer> de {#20-79} años.
{C.the} está [contraindicado|contraindicada] en pacientes con {D}.
Se {confirmaron|excluyeron} {D} y {D} mediante {pa}.
El diagnóstico diferencial incluía {D}, {D} y {D}.
Una dosis de {C} de {dose} {r} controló los síntomas, pero {D.the} {persistió|recidivó}.
Se realizó {px.a} {t} en {h.the}, sin complicaciones.
El dolor en {o.the} se irradiaba {o.to} y se acompañaba de {s}.
Alergia a {C} y {C}; intolerancia a {E}.
Se programaron {px.a} y {p.a} antes del alta.
El tratamiento {D.of} consistió en {C} [asociado|asociada] a {C}.
<El|La> paciente presentaba {sx} y {s}, pero {f.the} era normal.
{sg.the} fue [negativo|negativa] y se cambió {dv.the} {t}.
{pb.the} se registró {t} y {lab}.
El contenido de {e} del agua de {city} se midió {t}.
<El|La> paciente desarrolló {D} mientras tomaba {C} y {C}.
{D}.
{D} (desde {#2001-2020}), {D}, {AB}.
{C} {dose}; {E} {dose} {q}; {C}.
Descartar {D} frente a {D}.
Ahora con {C} contra {D.the}, con {s}.
{C.the} o {C.the} pueden usarse en {D.the}, pero no {E.the}.
Al descubrirse {D.the}, se retiró {C} y se comprobó {f.the}.
Sigue con {s}; {xb} pendiente; {o} normal.
¿{AB}? ¿{D}? A estudiar con {pa}.
Libre de {D} tras {C} y {px}.
Leve {s} con {C}; no se halló {D}.
Preguntó {dr.to} por {C}, {D} y {s}.
Ni {D.the} ni {D.the} explican el síntoma ({s}).
En {city}, {D.the} es menos común que {D.the}.
Gracias {C.to}, {D.the} no volvió {t}.
No tolera {C}; rechaza {C}; {D} sin tratar.
Muestra {o.of} enviada {h.to}; {f} por revisar.
Trabaja como {job}, sin {s}, {D} (¿{AB}?) en mejoría.
""",
    "dev": """
En {city}, {dr.the} atendió a <un niño|una niña> con {D} cuya familia también tenía {D}.
{AB} y {D} [diagnosticado|diagnosticada] {t}; toma {C} {dose} {q} y {C}.
A pesar de {C} {dose} {r}, acabó presentando {D}.
No se encontró nada anormal en {o.the} con {pa.the}.
La sonda, hecha de {e} y plástico, se fijó {o.to}.
{xb.the} y {p.the} sugerían {DA} más que {D}.
Plan: {C} {dose}, {E} {dose}, {p} y revisión {f.of}.
Se queja de {s} y {sx} {td}, que mejora con {C}.
{e} en orina {#20-150} mmol/L, {lab}.
""",
    "test": """
{D} ya [conocido|conocida], con {C} {dose} {q} y {C} {dose} al acostarse.
Diagnósticos al alta: 1) {D}; 2) {D}; 3) {AB}.
Historia previa: {AB} {AB} {AB}, {px} en {city}.
Ante la sospecha de {D}, {dr.the} decidió retirar {C} y dar {C} {r}.
Nadie en la familia padece {D}, aunque su {fam} recibe {C} para {D.the}.
A su llegada {h.to}, <el hombre|la mujer> aquejaba {s}, {sx} y {s}; {sc.the}: {#3-15}.
La biopsia {o.of} fue compatible con {D}.
Tanto {C.the} como {C.the} pueden empeorar {D.the}.
Resultados: {e} {#20-150} mmol/L, {lab}; {f} dentro de límites.
Se colocó un stent con cubierta de {e} en {o.the} tras {p.the}.
Se pautó {E} oral porque se había detectado {D} {t}.
Complicaciones como {D}, {D} o {D} son infrecuentes con {C}.
<Curado|Curada> de {D}, volvió a su trabajo como {job} {t}.
Evolución: {D} bajo control con {C}; aún {s}.
{pa.the} de control mostró que {DA.the} no había progresado.
La combinación de {C} más {C} se toleró bien en {DA.the}.
Sin cambios en {pb.the} desde el alta; {lab}.
No constaban {s} ni {s}, y {o.the} era [blando|blanda] a la palpación.
Como {C.the} puede provocar {D}, deben vigilarse {f.the} y {xb.the} {q}.
{bug} en la muestra obtenida {o.of} en {city} {t}.
Pauta al alta: {C} {C} {dose}, luego {C} {q}.
<Un|Una> joven {job} con {D} de larga evolución acudió {h.to} por {sx}.
Los cirujanos {h.of} practicaron {px.a} por {D}, y después {C} {dose}.
Lo que parecía {D} resultó ser {D} (se excluyó {AB}).
Imagen {o.of}: sin lesiones; {xb} normal; {p} pendiente.
""",
}

CORPUS = {
    "note": """
Motivo de ingreso: {s} y {s} {td}.
A la exploración, <el|la> paciente estaba {consciente|en buen estado general}, con presión arterial
  de {#95-180}/{#50-100} mmHg, frecuencia cardíaca de {#55-130} latidos por minuto y temperatura de
  {#36-39},{#0-9} °C.
El abdomen era {blando|doloroso}; {o.the} {no |}se palpaba.
En la analítica destacaban {lab}, {lab} y {lab}.
{p.the} reveló {D} y {f.the} estaba {normal|[alterado|alterada]|[conservado|conservada]}.
Se inició {C} {dose} {r} {q}, con buena respuesta.
Al {segundo|tercer|quinto} día {apareció|cedió} {s} y se {redujo|aumentó} {C.the} a {dose}.
Alta a domicilio con {C} {dose} {q}; revisión en {h.the} en {#2-12} semanas.
Diagnóstico: {D}; {D}.
Vive con su {fam}, trabaja como {job} y {no fuma|fuma {#5-30} cigarrillos al día}.
No se conocen alergias, salvo una erupción tras tomar {C}.
Exploración neurológica: fuerza y sensibilidad conservadas, {sc} normal.
""",
    "case": """
{D.the} es una {enfermedad|entidad} poco frecuente que {suele|puede} comenzar con {s} y {s}.
Describimos el caso de <un varón|una mujer> de {#20-79} años, {job} de {city}, que consultó {t} por
  {s}.
Su {fam} había padecido {D}, y <él|ella> había tomado {C} {td}.
La sospecha inicial fue {D}, pero {p.the} y {pa.the} indicaban {D}.
La histología {o.of} confirmó el diagnóstico de {D}.
Se inició tratamiento con {C} {dose} {q} y se añadió {C} cuando {reapareció|empeoró} el cuadro de
  {s}.
Se practicó {px.a} {t} sin complicaciones.
Después de {#3-24} meses <el|la> paciente sigue sin síntomas, con {lab}.
Que sepamos, se han publicado pocos casos de {D} [asociado|asociada] a {D}.
Este caso muestra que debe pensarse en {D} ante un paciente con {s} y {sx}.
El pronóstico depende de la extensión {D.of} y de la respuesta {C.to}.
""",
    "leaflet": """
Qué es {C} y para qué se utiliza: {=} es un medicamento que se usa para tratar {D.the} y {D.the}.
No tome {C} si es alérgico {C.to} o si tiene {D}.
Consulte a su médico o farmacéutico antes de tomar este medicamento si padece {D}.
Informe a su médico si está tomando {C}, {C} o {E}, porque puede ser necesario cambiar la dosis.
La dosis habitual es de {dose} {q}. Tome {noun.the} con un vaso de agua.
Si olvida una dosis, tómela en cuanto se acuerde, salvo que ya sea la hora de la siguiente.
Efectos adversos frecuentes: {s}, {s} y {s}. Pueden afectar hasta a 1 de cada 10 personas.
Efectos adversos raros: {D}, {s} y {sx}.
No se recomienda durante el embarazo, sobre todo en mujeres con {D}.
No conduzca si nota {s} o {s} después de tomar {noun.the}.
Conservar por debajo de 25 °C, fuera de la vista y del alcance de los niños; no usar después de la
  fecha de caducidad.
Cada {noun} contiene {dose} de {C}.
Los ancianos y los pacientes con {D} deben empezar con {dose} {q}.
""",
    "info": """
¿Qué es {D.the}? Es una enfermedad que afecta {o.to} y puede causar {s}.
Los primeros signos {D.of} son {s}, {s} y, con menos frecuencia, {sx}.
Su médico le preguntará por los síntomas y puede pedir {p.a} o {pa.a}.
{D.the} es más frecuente en personas con {D} o con familiares que tienen la enfermedad.
{D.the} no tiene cura, pero {C.the} {ayuda a aliviar los síntomas|frena su evolución}.
Algunas personas necesitan una operación, por ejemplo {px.a}.
Siga una dieta variada, beba suficiente agua y camine al menos {#20-60} minutos al día.
Acuda a urgencias si nota {s} o {s}.
Los niños y las personas mayores con {D} deben vacunarse todos los años.
No deje de tomar {C} sin consultar a su médico, aunque se encuentre mejor.
Si no se trata, {D.the} puede dañar {o.the} y provocar {D}.
Una dieta equilibrada contiene suficiente {E}; los suplementos solo son necesarios en caso de {D}.
""",
}
