"""French: see `en` and `es` for the notation. Elision (d', l', qu') is left to `grammar`."""

DECIMAL = ","

ABBREVIATIONS = {
    "train": "HTA DT2 BPCO IRC FA ICC RGO IU",
    "dev": "TB PR LED",
    "test": "SEP SAOS SOPK AOMI SII NASH CPI",
}

WORDS = {
    "s": """céphalées; douleur abdominale; nausées; vomissements; dyspnée; fièvre; vertiges;
        asthénie; sueurs nocturnes; perte de poids; douleur thoracique; toux grasse; vision floue;
        prurit; palpitations; perte d'appétit; mal de dos; pâleur; gonflement des chevilles;
        fourmillements dans les mains; faiblesse musculaire; mal de gorge;
        difficulté à avaler; voix enrouée; constipation; somnolence""",
    "o": """foie/m; rate/f; rein gauche/m; poumon droit/m; estomac/m; glande thyroïde/f; pancréas/m;
        aorte/f; ventricule gauche/m; vessie/f; vésicule biliaire/f; jambe/f; rachis cervical/m;
        paroi abdominale/f; côlon/m; peau du tronc/f; œil droit/m; intestin grêle/m; genou/m;
        hanche/f; nerf optique/m; artère fémorale/f""",
    "f": """fonction rénale/f; muqueuse gastrique/f; perfusion cérébrale/f;
        auscultation pulmonaire/f; taille du foie/f; rythme cardiaque/m; fixation thyroïdienne/f;
        échogénicité hépatique/f; arbre biliaire/m; moelle épinière/f; tonus musculaire/m;
        contour splénique/m; cavité utérine/f; débit coronaire/m; transit intestinal/m;
        canal pancréatique/m;
        racine aortique/f; mobilité laryngée/f""",
    "p": """radiographie du thorax/f; numération sanguine/f; électrocardiogramme/m;
        ponction lombaire/f; échographie rénale/f; biopsie hépatique/f; IRM cérébrale/f;
        épreuve d'effort/f; scintigraphie osseuse/f; examen des urines/m;
        cathétérisme cardiaque/m; examen clinique/m; scanner abdominal/m; spirométrie/f;
        hémoculture/f; test cutané/m""",
    "pa": """tomodensitométrie (TDM)/f; imagerie par résonance magnétique (IRM)/f;
        électroencéphalogramme (EEG)/m; tomographie par émission de positons (TEP)/f""",
    "pb": """fraction d'éjection (FE)/f; indice de masse corporelle (IMC)/m;
        vitesse de sédimentation (VS)/f; pression artérielle (PA)/f""",
    "xb": "TDM/f; ECG/m; EEG/m; CRP/f; IRM/f; IMC/m; VS/f",
    "t": """il y a trois jours; la semaine dernière; en mars; en 2019; pendant la nuit;
        deux semaines après l'opération; au printemps; à l'âge de 40 ans;
        après un voyage au Kenya; le quatrième jour""",
    "td": """depuis l'enfance; depuis deux mois; au cours de l'année écoulée; depuis janvier;
        depuis une dizaine d'années; pendant trois jours; depuis l'été dernier""",
    "q": """une fois par jour; deux fois par jour; toutes les huit heures; le soir; avant les repas;
        une fois par semaine; au petit déjeuner; si besoin; pendant sept jours;
        pendant trois mois""",
    "r": """par voie orale; par voie intraveineuse; par voie sous-cutanée; par voie intramusculaire;
        en perfusion lente""",
    "dose": "5 mg; 10 mg; 20 mg; 40 mg; 50 mg; 100 mg; 250 mg; 500 mg; 1 g; 2 mg/kg; 75 mcg",
    "dr": """Dr Lavergne/m; Dr Kerouac/m; Dr Delmas/m; Pr Vasseur/m; Dr Bonnefoy/m; Pr Quéméner/m;
        Dr Rostand/m""",
    "h": """Hôpital du Nord/m; Clinique Saint-Brieuc/f; Centre médical de la Rive/m;
        Service des Urgences/m; Hôpital Reine-Mathilde/m; Service de Chirurgie/m;
        Clinique des Tilleuls/f""",
    "city": "Lyon; Nantes; Toulouse; Genève; Montréal; Dakar; Rennes; Liège",
    "fam": "père/m; frère/m; grand-père/m; oncle/m; cousin/m; neveu/m",
    "sc": """score de Glasgow/m; score d'Apgar/m; indice de Barthel/m; indice de Karnofsky/m;
        score de Child-Pugh/m""",
    "sg": "signe de Murphy/m; signe de Babinski/m; épreuve de Romberg/f; signe de Kernig/m",
    "dv": "sonde de Foley/f; cathéter de Swan-Ganz/m; Holter/m; cathéter de Hickman/m",
    "job": """<infirmier|infirmière>; <enseignant|enseignante>; <agriculteur|agricultrice>;
        <chauffeur|chauffeuse> de car; <boulanger|boulangère>; mineur à la retraite;
        <étudiant|étudiante>; <vendeur|vendeuse>; <cuisinier|cuisinière>""",
    "bug": """Escherichia coli; Staphylococcus aureus; Candida albicans; Klebsiella oxytoca;
        Proteus mirabilis""",
    "lab": """hémoglobine {#.8-16} g/dL; créatinine {#.1-4} mg/dL; plaquettes {#90-420} x 10^9/L;
        glucose {#60-310} mg/dL; CRP {#2-190} mg/L; albumine {#.2-5} g/dL;
        bilirubine {#.1-9} mg/dL; leucocytes {#3-22} x 10^9/L; ferritine {#5-600} ng/mL;
        TSH {#.1-9} mUI/L""",
    "noun": """comprimé/m; gélule/f; solution injectable/f; suspension buvable/f;
        comprimé pelliculé/m; sachet/m""",
}

FRAMES = {
    "train": """
<Homme|Femme> de {#20-79} ans aux antécédents de {D} et de {D}, <admis|admise> {t} pour {s} et {s}.
Le diagnostic de {D} a été posé {t} et un traitement par {C} {dose} {q} a été
  débuté.
Antécédents personnels : {AB} {AB}, {D}, {p} {t}.
Antécédents de {AB}, {AB} et {D} ; pas d'allergie connue.
{Il|Elle} {prend|prenait} {C} {dose}, {C} et {C} {dose} {q}.
Traitement actuel : {C} {dose} {C} {dose} {q}, {C} {dose}.
Traitement à domicile : {C} {C} {dose} et {E} {q}.
{p.the} a montré {D.a} {o.of} sans atteinte {o.of}.
{C.the} a été {[introduit|introduite]|[arrêté|arrêtée]} {t} en raison {D.of}.
Son {fam} {a eu|est mort de} {D} et un autre parent souffre de {D}.
Pas de {s}, ni de {s} ou de {s}.
{p.the} était [normal|normale] et {o.the} ne présentait pas d'anomalie.
Biologie : {lab}, {lab}, {e} sérique {#20-150} mcg/dL, {lab}.
Le {e} sérique était à {#20-150} mcg/dL et {lab}.
Des suppléments de {E} ont été donnés {r} pour corriger {D.the}.
La pile au {e} du stimulateur a été remplacée {t} ({h}).
{dr.the} a retiré une plaque de {e} {o.of}.
{DA.the} est une cause {fréquente|rare} de {s} chez l'adulte.
<Il|Elle> était <suivi|suivie> à {city} ({h}) pour {DA}, avec un traitement par {C}.
{D.a} a été [suspecté|suspectée] sous {C}, et le médicament a été remplacé par {C}.
Après {#2-9} jours de {C} {dose} {r}, {amélioration|disparition} des symptômes ({s}).
{dr.the} ({h}) a {demandé|relu} {p.the} et {pa.the}.
{pa.the} a éliminé {D.a} et {D.a}.
Il n'y avait pas de signe de {D} sur {xb.the}.
{f.the} était [conservé|conservée] et {sc.the} était à {#1-15}.
<Le patient|La patiente>, {job} à {city}, signalait {td} les symptômes suivants : {s}.
La culture a isolé {bug}, si bien que {C.the} a été [ajouté|ajoutée] {C.to}.
Nous rapportons un cas de {D} [associé|associée] à {D.a} chez <un homme|une femme> de {#20-79} ans.
{C.the} est [contre-indiqué|contre-indiquée] en cas de {D}.
On a {confirmé|exclu} {D.a} et {D.a} par {pa}.
Le diagnostic différentiel comprenait {D}, {D} et {D}.
Une dose de {C} de {dose} {r} a calmé la gêne, mais {D.the} a {persisté|récidivé}.
{px.a} a été [réalisé|réalisée] {t} sans complication ({h}).
La douleur {o.of} irradiait {o.to} et s'accompagnait de {s}.
Allergie : {C} et {C} ; intolérance : {E}.
{px.a} et {p.a} ont été prévus avant la sortie.
La prise en charge {D.of} reposait sur {C.the} [associé|associée] {C.to}.
<Le patient|La patiente> présentait {sx.a} et {s}, mais {f.the} était [normal|normale].
{sg.the} était [négatif|négative] et {dv.the} a été [changé|changée] {t}.
{pb.the} a été [mesuré|mesurée] {t} et {lab}.
La teneur en {e} de l'eau de {city} a été mesurée {t}.
<Le patient|La patiente> a développé {D.a} sous {C} et {C}.
{D}.
{D} (depuis {#2001-2020}), {D}, {AB}.
{C} {dose} ; {E} {dose} {q} ; {C}.
Exclure {D.a} face {D.to}.
Actuellement {C} contre {D.the}, avec {s}.
{C.the} ou {C.the} peuvent être utilisés dans {D.the}, mais pas {E.the}.
À la découverte {D.of}, on a retiré {C.the} et vérifié {f.the}.
Toujours {s} ; {xb} en attente ; {o} normal.
{AB} ? {D} ? À étudier par {pa}.
Indemne de {D} après {C} et {px}.
Légers symptômes ({s}) sous {C} ; pas de {D}.
A interrogé {dr.the} sur {C.the}, {D.the} et le reste ({s}).
Ni {D.the} ni {D.the} n'expliquent les symptômes ({s}).
À {city}, {D.the} est moins [courant|courante] que {D.the}.
Grâce {C.to}, {D.the} n'est pas [revenu|revenue] {t}.
Ne tolère pas {C.the} ; refuse {C.the} ; {D} sans traitement.
Prélèvement {o.of} envoyé ({h}) ; {f} à revoir.
Métier : {job} ; pas de {s} ; {D} ({AB} ?) en amélioration.
""",
    "dev": """
À {city}, {dr.the} a vu <un garçon|une fillette> avec {D.a} dont le {fam} avait aussi {D.a}.
{AB} et {D} [diagnostiqué|diagnostiquée] {t} ; sous {C} {dose} {q} et {C}.
Malgré {C.the} {dose} {r}, {D.a} est [apparu|apparue].
Rien d'anormal n'a été trouvé au niveau {o.of} sur {pa.the}.
La sonde, en {e} et en plastique, était fixée {o.to}.
{xb.the} et {p.the} évoquaient {DA} plutôt que {D.a}.
Plan : {C} {dose}, {E} {dose}, {p} et contrôle {f.of}.
Se plaint de {s} et de {sx} {td}, avec soulagement par {C}.
{e} urinaire {#20-150} mmol/L, {lab}.
""",
    "test": """
{D} déjà [connu|connue], sous {C} {dose} {q} et {C} {dose} au coucher.
Diagnostics de sortie : 1) {D} ; 2) {D} ; 3) {AB}.
Terrain : {AB} {AB} {AB}, {px} à {city}.
Devant la suspicion de {D}, {dr.the} a préféré retirer {C.the} et donner {C.the} {r}.
Personne dans la famille n'est atteint de {D}, mais son {fam} reçoit {C.the} contre {D.the}.
À son arrivée, <l'homme|la femme> se plaignait de {s}, de {sx} et de {s} ; {sc} : {#3-15}.
La biopsie {o.of} était compatible avec {D.a}.
Aussi bien {C.the} que {C.the} peuvent aggraver {D.the}.
Résultats : {e} {#20-150} mmol/L, {lab} ; {f} dans les limites.
Un stent recouvert de {e} a été placé au niveau {o.of} après {p.the}.
Prescription de {E} per os, car {D.a} avait été [décelé|décelée] {t}.
Des complications comme {D.the}, {D.the} ou {D.the} sont peu courantes avec {C.the}.
<Guéri|Guérie> de {D}, <il|elle> a repris son travail ({job}) {t}.
Évolution : {D} [contrôlé|contrôlée] par {C} ; encore {s}.
{pa.the} de contrôle n'a pas retrouvé de progression {DA.of}.
L'association {C} plus {C} a été bien tolérée dans {DA.the}.
Pas de changement {pb.of} depuis la sortie ; {lab}.
Ni {s} ni {s} n'ont été notés, et {o.the} était souple à la palpation.
Comme {C.the} peut entraîner {D.a}, on surveille {f.the} et {xb.the} {q}.
{bug} dans le prélèvement {o.of} à {city} {t}.
Ordonnance de sortie : {C} {C} {dose}, puis {C} {q}.
<Jeune homme|Jeune femme> ({job}) avec {D.a} de longue date, <venu|venue> pour {sx}.
Les chirurgiens {h.of} ont pratiqué {px.a} pour {D}, puis {C} {dose}.
Ce qui semblait être {D.a} était en fait {D.a} ({AB} écarté).
Imagerie {o.of} : pas de lésion ; {xb} sans anomalie ; {p} en attente.
""",
}

CORPUS = {
    "note": """
Motif d'admission : {s} et {s} {td}.
À l'examen, <le patient|la patiente> était {<conscient|consciente>|en bon état général}, la pression
  artérielle à {#95-180}/{#50-100} mmHg, la fréquence cardiaque à {#55-130} battements par minute et
  la température à {#36-39},{#0-9} °C.
L'abdomen était {souple|douloureux} ; {o.the} {n'était pas|était} palpable.
Le bilan sanguin montrait {lab}, {lab} et {lab}.
{p.the} a révélé {D.a} et {f.the} était {[normal|normale]|[altéré|altérée]|[conservé|conservée]}.
Un traitement par {C} {dose} {r} {q} a été débuté, avec une bonne réponse.
Au {deuxième|troisième|cinquième} jour, {s} ; {C.the} a été [réduit|réduite] à {dose}.
Retour à domicile avec {C} {dose} {q} ; consultation dans {#2-12} semaines ({h}).
Diagnostic : {D} ; {D}.
<Il|Elle> vit avec son {fam}, travaille ({job}) et {ne fume pas|fume {#5-30} cigarettes par jour}.
Pas d'allergie connue, sauf une éruption après la prise de {C}.
Examen neurologique : force et sensibilité conservées, {sc} sans particularité.
""",
    "case": """
{D.the} est une {maladie|affection} rare qui {débute souvent|peut débuter} par {s} et {s}.
Nous décrivons le cas <d'un homme|d'une femme> de {#20-79} ans, {job} à {city}, qui a consulté {t}
  pour {s}.
Son {fam} avait souffert de {D}, et <il|elle> avait pris {C.of} {td}.
L'hypothèse initiale était {D.a}, mais {p.the} et {pa.the} évoquaient {D.a}.
L'histologie {o.of} a confirmé le diagnostic de {D}.
Un traitement par {C} {dose} {q} a été débuté, puis {C.the} a été [ajouté|ajoutée] devant la
  {reprise|majoration} des symptômes ({s}).
{px.a} a été [pratiqué|pratiquée] {t} sans complication.
Après {#3-24} mois, <le patient|la patiente> reste sans symptômes, avec {lab}.
À notre connaissance, peu de cas de {D} [associé|associée] à {D.a} ont été publiés.
Ce cas montre qu'il faut penser {D.to} devant {s} et {sx}.
Le pronostic dépend de l'étendue {D.of} et de la réponse {C.to}.
""",
    "leaflet": """
Qu'est-ce que {C.the} et dans quel cas est-[il|elle] [utilisé|utilisée] ? {=.the} est un médicament
  qui sert à traiter {D.the} et {D.the}.
Ne prenez jamais {C} si vous êtes allergique {C.to} ou si vous souffrez de {D}.
Adressez-vous à votre médecin ou à votre pharmacien avant de prendre ce médicament en cas de {D}.
Informez votre médecin si vous prenez {C.of}, {C.of} ou {E.of}, car il peut être nécessaire
  d'adapter la dose.
La dose habituelle est de {dose} {q}. Prenez {noun.the} avec un verre d'eau.
Si vous oubliez une dose, prenez-la dès que vous y pensez, sauf s'il est l'heure de la suivante.
Effets indésirables fréquents : {s}, {s} et {s}. Ils peuvent toucher jusqu'à 1 personne sur 10.
Effets indésirables rares : {D}, {s} et {sx}.
Ce médicament est déconseillé pendant la grossesse, surtout chez les femmes qui ont {D.a}.
Ne conduisez pas en cas de {s} ou de {s} après avoir pris {noun.the}.
À conserver à une température inférieure à 25 °C, hors de la vue et de la portée des enfants ; ne
  pas utiliser après la date de péremption.
{noun.a} contient {dose} de {C}.
Les sujets âgés et les patients atteints de {D} doivent commencer par {dose} {q}.
""",
    "info": """
Qu'est-ce que {D.the} ? C'est une maladie qui touche {o.the} et se manifeste par {s}.
Les premiers signes {D.of} sont les suivants : {s}, {s} et, plus rarement, {sx}.
Votre médecin vous interrogera sur vos symptômes et pourra demander {p.a} ou {pa.a}.
{D.the} est plus [fréquent|fréquente] en cas de {D} ou lorsqu'un proche a la maladie.
Il n'existe pas de remède contre {D.the}, mais {C.the} {soulage les symptômes|en freine
  l'évolution}.
Certaines personnes ont besoin d'une opération, par exemple {px.a}.
Mangez varié, buvez assez d'eau et marchez au moins {#20-60} minutes par jour.
Rendez-vous aux urgences en cas de {s} ou de {s}.
Les enfants et les personnes âgées qui ont {D.a} doivent être vaccinés chaque année.
N'arrêtez pas {C.the} sans demander l'avis de votre médecin, même si vous allez mieux.
Sans traitement, {D.the} peut abîmer {o.the} et provoquer {D.a}.
Une alimentation équilibrée contient assez de {E} ; les suppléments ne servent qu'en cas de {D}.
""",
}
