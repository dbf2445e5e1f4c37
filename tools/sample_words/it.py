"""Italian: see `en` and `es` for the notation; `{o.in}` writes "nel / nella", `{C.by}` "dal"."""

DECIMAL = ","

ABBREVIATIONS = {
    "train": "IPA DM2 BPCO IRC FA SCC MRGE IVU",
    "dev": "TBC AR LES",
    "test": "SM OSAS PCOS AOP IBS NASH CAD",
}

WORDS = {
    "s": """cefalea; dolore addominale; nausea; vomito; difficoltà respiratoria; febbre; vertigini;
        stanchezza; sudorazione notturna; calo di peso; dolore toracico; tosse produttiva;
        visione offuscata; prurito; palpitazioni; perdita di appetito; mal di schiena; pallore;
        gonfiore alle caviglie; formicolio alle mani; debolezza muscolare; mal di gola;
        difficoltà a deglutire; voce rauca; stipsi; sonnolenza""",
    "o": """fegato/m; milza/f; rene sinistro/m; polmone destro/m; stomaco/m; ghiandola tiroide/f;
        pancreas/m; aorta/f; ventricolo sinistro/m; vescica/f; colecisti/f; gamba/f;
        rachide cervicale/m; parete addominale/f; colon/m; cute del tronco/f; occhio destro/m;
        intestino tenue/m; ginocchio/m; anca/f; nervo ottico/m; arteria femorale/f""",
    "f": """funzione renale/f; mucosa gastrica/f; perfusione cerebrale/f; auscultazione polmonare/f;
        volume epatico/m; ritmo cardiaco/m; captazione tiroidea/f; ecogenicità epatica/f;
        albero biliare/m; motilità laringea/f; tono muscolare/m; contorno splenico/m;
        cavità uterina/f; flusso coronarico/m; transito intestinale/m; dotto pancreatico/m;
        radice aortica/f""",
    "p": """radiografia del torace/f; emocromo/m; elettrocardiogramma/m; puntura lombare/f;
        ecografia renale/f; biopsia epatica/f; risonanza cerebrale/f; prova da sforzo/f;
        scintigrafia ossea/f; urinocoltura/f; cateterismo cardiaco/m; esame obiettivo/m;
        TAC addominale/f; spirometria/f; emocoltura/f; test cutaneo/m""",
    "pa": """tomografia computerizzata (TC)/f; risonanza magnetica (RM)/f;
        elettroencefalogramma (EEG)/m; tomografia a emissione di positroni (PET)/f""",
    "pb": """frazione di eiezione (FE)/f; indice di massa corporea (IMC)/m;
        velocità di eritrosedimentazione (VES)/f; pressione arteriosa (PA)/f""",
    "xb": "TAC/f; ECG/m; EEG/m; PCR/f; RMN/f; IMC/m; VES/f",
    "t": """tre giorni fa; la settimana scorsa; a marzo; nel 2019; durante la notte; in primavera;
        due settimane dopo l'intervento; all'età di 40 anni; dopo un viaggio in Kenya;
        in quarta giornata""",
    "td": """dall'infanzia; da due mesi; nell'ultimo anno; da gennaio; da circa dieci anni;
        per tre giorni; dall'estate scorsa""",
    "q": """una volta al giorno; due volte al giorno; ogni otto ore; la sera; prima dei pasti;
        una volta alla settimana; a colazione; al bisogno; per sette giorni; per tre mesi""",
    "r": """per via orale; per via endovenosa; per via sottocutanea; per via intramuscolare;
        in infusione lenta""",
    "dose": "5 mg; 10 mg; 20 mg; 40 mg; 50 mg; 100 mg; 250 mg; 500 mg; 1 g; 2 mg/kg; 75 mcg",
    "dr": """dott. Ferrante/m; dott.ssa Colonna/f; dott. Morelli/m; dott.ssa Brighenti/f;
        prof. Galvani/m; dott. Sartori/m; prof.ssa Longhi/f""",
    "h": """Ospedale del Nord/m; Clinica San Telmo/f; Centro Medico Riviera/m; Pronto Soccorso/m;
        Ospedale Regina Teodolinda/m; Reparto di Chirurgia/m; Clinica dei Pini/f""",
    "city": "Torino; Bologna; Palermo; Lugano; Trieste; Bari; Verona; Cagliari",
    "fam": "padre/m; fratello/m; nonno/m; zio/m; cugino/m; nipote/m",
    "sc": """scala di Glasgow/f; indice di Apgar/m; indice di Barthel/m; indice di Karnofsky/m;
        punteggio di Child-Pugh/m""",
    "sg": "segno di Murphy/m; segno di Babinski/m; prova di Romberg/f; segno di Kernig/m",
    "dv": "catetere di Foley/m; catetere di Swan-Ganz/m; Holter/m; catetere di Hickman/m",
    "job": """<infermiere|infermiera>; <maestro|maestra>; <agricoltore|agricoltrice>; autista;
        <fornaio|fornaia>; <minatore|ex operaia>; <studente|studentessa>; <commesso|commessa>;
        <cuoco|cuoca>""",
    "bug": """Escherichia coli; Staphylococcus aureus; Candida albicans; Klebsiella oxytoca;
        Proteus mirabilis""",
    "lab": """emoglobina {#.8-16} g/dL; creatinina {#.1-4} mg/dL; piastrine {#90-420} x 10^9/L;
        glucosio {#60-310} mg/dL; PCR {#2-190} mg/L; albumina {#.2-5} g/dL;
        bilirubina {#.1-9} mg/dL; leucociti {#3-22} x 10^9/L; ferritina {#5-600} ng/mL;
        TSH {#.1-9} mUI/L""",
    "noun": """compressa/f; capsula/f; soluzione iniettabile/f; sospensione orale/f;
        compressa rivestita/f; bustina/f""",
}

FRAMES = {
    "train": """
<Uomo|Donna> di {#20-79} anni con anamnesi di {D} e {D}, <ricoverato|ricoverata> {t} per {s} e {s}.
<Al|Alla> paziente è stata posta {t} diagnosi di {D}, con terapia a base di {C} {dose} {q}.
Anamnesi patologica: {AB} {AB}, {D}, {p} {t}.
Storia di {AB}, {AB} e {D}; nessuna allergia nota.
{Assume|Assumeva} {C} {dose}, {C} e {C} {dose} {q}.
Terapia in corso: {C} {dose} {C} {dose} {q}, {C} {dose}.
Terapia domiciliare: {C} {C} {dose} e {E} {q}.
{p.the} ha mostrato {D} {o.in} senza interessamento {o.of}.
{C.the} è [stato|stata] {[iniziato|iniziata]|[sospeso|sospesa]} {t} a causa {D.of}.
Suo {fam} {ha avuto|è morto di} {D} e un altro parente ha {D}.
Nega {s}, {s} o {s}.
{p.the} era nella norma e {o.the} non presentava alterazioni.
Esami di laboratorio: {lab}, {lab}, {e} sierico {#20-150} mcg/dL, {lab}.
Il {e} sierico era {#20-150} mcg/dL e {lab}.
Sono stati somministrati supplementi di {E} {r} per correggere {D.the}.
La batteria al {e} del pacemaker è stata sostituita {t} presso {h.the}.
{dr.the} ha rimosso una placca di {e} {o.by}.
{DA.the} è una causa {frequente|rara} di {s} nell'adulto.
Era <seguito|seguita> presso {h.the} di {city} per {DA}, in trattamento con {C}.
Si è sospettato un quadro di {D} da {C}, per cui il farmaco è stato sostituito con {C}.
Dopo {#2-9} giorni di {C} {dose} {r} il quadro iniziale ({s}) è {migliorato|scomparso}.
{dr.the}, {h}, ha {richiesto|rivisto} {p.the} e {pa.the}.
{pa.the} ha escluso {D} e {D}.
Non vi erano segni di {D} {xb.in}.
{f.the} era [conservato|conservata] e {sc.the} era {#1-15}.
<Il|La> paziente, {job} di {city}, riferiva {s} {td}.
Dalla coltura è cresciuto {bug}, pertanto {C.the} è [stato aggiunto|stata aggiunta] {C.to}.
Presentiamo un caso di {D} [associato|associata] a {D} in <un uomo|una donna> di {#20-79} anni.
{C.the} è [controindicato|controindicata] nei pazienti con {D}.
Mediante {pa} è stato possibile {confermare|escludere} {D} e {D}.
La diagnosi differenziale comprendeva {D}, {D} e {D}.
Una dose di {C} da {dose} {r} ha alleviato i sintomi, ma {D.the} è
  [{persistito|recidivato}|{persistita|recidivata}].
È stata eseguita {px.a} {t} presso {h.the}, senza complicanze.
Il dolore {o.in} si irradiava {o.to} e si accompagnava a {s}.
Allergia a {C} e {C}; intolleranza a {E}.
Sono stati programmati {px.a} e {p.a} prima della dimissione.
Il trattamento {D.of} consisteva in {C} [associato|associata] a {C}.
<Il|La> paziente aveva {sx} e {s}, ma {f.the} era normale.
{sg.the} era [negativo|negativa] e {dv.the} è [stato sostituito|stata sostituita] {t}.
{pb.the} è [stato misurato|stata misurata] {t} e {lab}.
Il contenuto di {e} dell'acqua di {city} è stato misurato {t}.
<Il|La> paziente ha sviluppato {D} durante l'assunzione di {C} e {C}.
{D}.
{D} (dal {#2001-2020}), {D}, {AB}.
{C} {dose}; {E} {dose} {q}; {C}.
Escludere {D} rispetto a {D}.
Ora con {C} contro {D.the}, con {s}.
{C.the} o {C.the} possono essere usati {D.in}, ma non {E.the}.
Alla scoperta {D.of}, è stato ritirato {C} e controllato il resto ({f}).
Ha ancora {s}; {xb} in attesa; {o} normale.
{AB}? {D}? Da studiare con {pa}.
Libero da {D} dopo {C} e {px}.
Lieve {s} con {C}; non trovata {D}.
Ha chiesto {dr.to} di {C}, {D} e {s}.
Né {D.the} né {D.the} spiegano il sintomo ({s}).
A {city}, {D.the} è meno comune {D.of}.
Grazie {C.to}, {D.the} non è [tornato|tornata] {t}.
Non tollera {C}; rifiuta {C}; {D} senza cura.
Campione {o.of} inviato {h.to}; {f} da rivedere.
Lavora come {job}, senza {s}, {D} ({AB}?) in miglioramento.
""",
    "dev": """
A {city} {dr.the} ha visitato <un bambino|una bambina> con {D} il cui {fam} aveva anch'egli {D}.
{AB} e {D} [diagnosticato|diagnosticata] {t}; in terapia con {C} {dose} {q} e {C}.
Nonostante {C} {dose} {r}, si è poi osservata la comparsa {D.of}.
Nulla di anomalo {o.in} {pa.to}.
La sonda, fatta di {e} e plastica, è stata fissata {o.to}.
{xb.the} e {p.the} facevano pensare a {DA} più che a {D}.
Piano: {C} {dose}, {E} {dose}, {p} e controllo {f.of}.
Lamenta {s} e {sx} {td}, con sollievo dopo {C}.
{e} urinario {#20-150} mmol/L, {lab}.
""",
    "test": """
{D} già [noto|nota], con {C} {dose} {q} e {C} {dose} prima di coricarsi.
Diagnosi di dimissione: 1) {D}; 2) {D}; 3) {AB}.
Precedenti: {AB} {AB} {AB}, {px} a {city}.
Nel sospetto di {D}, {dr.the} ha deciso di togliere {C.the} e dare {C} {r}.
Nessuno in famiglia soffre di {D}, sebbene suo {fam} riceva {C} per {D.the}.
All'arrivo <l'uomo|la donna> lamentava {s}, {sx} e {s}; {sc}: {#3-15}.
La biopsia {o.of} era compatibile con {D}.
Sia {C.the} sia {C.the} possono peggiorare {D.the}.
Risultati: {e} {#20-150} mmol/L, {lab}; {f} nei limiti.
Uno stent rivestito di {e} è stato posizionato {o.in} dopo {p.the}.
Prescrizione di {E} per bocca perché {t} era emersa una diagnosi di {D}.
Complicanze come {D}, {D} o {D} sono poco comuni con {C}.
<Guarito|Guarita> da {D}, è <tornato|tornata> a lavorare come {job} {t}.
Decorso: {D} sotto controllo con {C}; ancora {s}.
{pa.the} di controllo non mostrava progressione {DA.of}.
La combinazione di {C} più {C} è stata ben tollerata {DA.in}.
Nessuna variazione {pb.of} dalla dimissione; {lab}.
Non si rilevavano né {s} né {s}, e {o.the} era trattabile alla palpazione.
Poiché {C.the} può provocare {D}, si devono controllare {f.the} e {xb.the} {q}.
{bug} nel campione prelevato {o.by} a {city} {t}.
Schema alla dimissione: {C} {C} {dose}, poi {C} {q}.
<Un|Una> giovane {job} con {D} di vecchia data è <giunto|giunta> in visita per {sx}.
I chirurghi {h.of} hanno praticato {px.a} per {D}, seguita da {C} {dose}.
Ciò che sembrava {D} si è rivelato {D} (esclusa {AB}).
Immagini {o.of}: nessuna lesione; {xb} nella norma; {p} in attesa.
""",
}

CORPUS = {
    "note": """
Motivo del ricovero: {s} e {s} {td}.
All'esame obiettivo <il|la> paziente era {vigile|in buone condizioni generali}, con pressione
  arteriosa di {#95-180}/{#50-100} mmHg, frequenza cardiaca di {#55-130} battiti al minuto e
  temperatura di {#36-39},{#0-9} °C.
L'addome era {trattabile|dolente}; {o.the} {non |}era palpabile.
Gli esami del sangue mostravano {lab}, {lab} e {lab}.
{p.the} ha rivelato {D} e {f.the} era {normale|[alterato|alterata]|[conservato|conservata]}.
È stata iniziata una terapia con {C} {dose} {r} {q}, con buona risposta.
In {seconda|terza|quinta} giornata {s}; {C.the} è [stato ridotto|stata ridotta] a {dose}.
Dimissione a domicilio con {C} {dose} {q}; controllo presso {h.the} dopo {#2-12} settimane.
Diagnosi: {D}; {D}.
Vive con suo {fam}, lavora come {job} e {non fuma|fuma {#5-30} sigarette al giorno}.
Nessuna allergia nota, tranne un'eruzione dopo l'assunzione di {C}.
Esame neurologico: forza e sensibilità conservate, {sc} nella norma.
""",
    "case": """
{D.the} è una {malattia|condizione} rara che {spesso inizia|può iniziare} con {s} e {s}.
Descriviamo il caso di <un uomo|una donna> di {#20-79} anni, {job} di {city}, <giunto|giunta> alla
  nostra osservazione {t} per {s}.
Suo {fam} aveva sofferto di {D}, e <il|la> paziente aveva assunto {C} {td}.
Il sospetto iniziale era {D}, ma {p.the} e {pa.the} indicavano {D}.
L'istologia {o.of} ha confermato la diagnosi di {D}.
È stato iniziato un trattamento con {C} {dose} {q}, e {C.the} è [stato aggiunto|stata aggiunta]
  {alla ricomparsa|al peggioramento} dei sintomi ({s}).
È stata praticata {px.a} {t} senza complicanze.
Dopo {#3-24} mesi <il|la> paziente è ancora senza sintomi, con {lab}.
Per quanto ci è noto, sono stati pubblicati pochi casi di {D} [associato|associata] a {D}.
Questo caso mostra che bisogna pensare {D.to} in presenza di {s} e {sx}.
La prognosi dipende dall'estensione {D.of} e dalla risposta {C.to}.
""",
    "leaflet": """
Cos'è {C} e a cosa serve: {=} è un medicinale usato per trattare {D.the} e {D.the}.
Non prenda {C} se è allergico {C.to} o se ha {D}.
Si rivolga al medico o al farmacista prima di prendere questo medicinale se soffre di {D}.
Informi il medico se sta assumendo {C}, {C} o {E}, perché può essere necessario modificare la dose.
La dose abituale è di {dose} {q}. Prenda {noun.the} con un bicchiere d'acqua.
Se dimentica una dose, la prenda appena se ne ricorda, a meno che non sia l'ora della successiva.
Effetti indesiderati comuni: {s}, {s} e {s}. Possono riguardare fino a 1 persona su 10.
Effetti indesiderati rari: {D}, {s} e {sx}.
Questo medicinale non è raccomandato in gravidanza, soprattutto nelle donne con {D}.
Non guidi se avverte {s} o {s} dopo aver preso {noun.the}.
Conservare sotto i 25 °C, fuori dalla vista e dalla portata dei bambini; non usare dopo la data di
  scadenza.
Ogni {noun} contiene {dose} di {C}.
Gli anziani e i pazienti con {D} devono iniziare con {dose} {q}.
""",
    "info": """
Che cos'è {D.the}? È una malattia che colpisce {o.the} e può causare {s}.
I primi segni {D.of} sono {s}, {s} e, meno spesso, {sx}.
Il medico farà domande sui sintomi e potrà richiedere {p.a} o {pa.a}.
{D.the} è più frequente nelle persone con {D} o con un parente che ha la malattia.
Non esiste una cura per {D.the}, ma {C.the} {allevia i sintomi|ne rallenta l'evoluzione}.
Alcune persone hanno bisogno di un intervento, per esempio {px.a}.
Segua una dieta varia, beva abbastanza acqua e cammini almeno {#20-60} minuti al giorno.
Vada al pronto soccorso se avverte {s} o {s}.
I bambini e gli anziani con {D} devono essere vaccinati ogni anno.
Non smetta di prendere {C} senza consultare il medico, anche se si sente meglio.
Se non viene trattata, {D.the} può danneggiare {o.the} e provocare {D}.
Una dieta equilibrata contiene {E} a sufficienza; gli integratori servono solo in caso di {D}.
""",
}
