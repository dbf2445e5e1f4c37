"""Building blocks of disease and drug names, one row per concept: en | es | fr | it.

Rows are aligned so that a concept held out of the training split is held out in every language
at once; otherwise a model that reads four languages would meet it in translation. `/m` and `/f`
give the gender. An adjective with one form ends in -o and makes -a (es, it), or does not change;
French writes both forms where they differ, with a comma.
"""

# A stem in -k is spelt -c, but -qu (es) or -ch (it) before i and e: broncopatía, bronquitis.
STEMS = """
hepat | hepat | hépat | epat
nephr | nefr | néphr | nefr
gastr | gastr | gastr | gastr
arthr | artr | arthr | artr
dermat | dermat | dermat | dermat
neur | neur | neur | neur
encephal | encefal | encéphal | encefal
bronch | bronk | bronch | bronk
pancreat | pancreat | pancréat | pancreat
cholecyst | colecist | cholécyst | colecist
cyst | cist | cyst | cist
col | col | col | col
enter | enter | entér | enter
oste | oste | osté | oste
spondyl | espondil | spondyl | spondil
chondr | condr | chondr | condr
rhin | rin | rhin | rin
ot | ot | ot | ot
blephar | blefar | bléphar | blefar
kerat | querat | kérat | cherat
thyroid | tiroid | thyroïd | tiroid
lymphaden | linfaden | lymphadén | linfoaden
splen | esplen | splén | splen
pleur | pleur | pleur | pleur
pericard | pericard | péricard | pericard
myocard | miocard | myocard | miocard
phleb | fleb | phléb | fleb
vascul | vascul | vascul | vascul
mening | mening | méning | mening
myel | miel | myél | miel
tendin | tendin | tendin | tendin
laryng | laring | laryng | laring
pharyng | faring | pharyng | faring
tonsill | amigdal | amygdal | tonsill
gingiv | gingiv | gingiv | gengiv
gloss | glos | gloss | gloss
stomat | estomat | stomat | stomat
esophag | esofag | œsophag | esofag
prostat | prostat | prostat | prostat
orchid | orquid | orchid | orchid
endometr | endometr | endométr | endometr
mast | mast | mast | mast
retin | retin | rétin | retin
scler | escler | sclér | scler
radicul | radicul | radicul | radicul
fibr | fibr | fibr | fibr
"""

DISEASE_AFFIXES = """
itis | itis/f | ite/f | ite/f
opathy | opatía/f | opathie/f | opatia/f
oma | oma/m | ome/m | oma/m
osis | osis/f | ose/f | osi/f
osclerosis | osclerosis/f | osclérose/f | osclerosi/f
omalacia | omalacia/f | omalacie/f | omalacia/f
olithiasis | olitiasis/f | olithiase/f | olitiasi/f
odystrophy | odistrofia/f | odystrophie/f | odistrofia/f
"""

# Same stems, but a procedure or a symptom: the affix decides, so the stem alone is no clue.
PROCEDURE_AFFIXES = """
ectomy | ectomía/f | ectomie/f | ectomia/f
oscopy | oscopia/f | oscopie/f | oscopia/f
ography | ografía/f | ographie/f | ografia/f
otomy | otomía/f | otomie/f | otomia/f
ostomy | ostomía/f | ostomie/f | ostomia/f
oplasty | oplastia/f | oplastie/f | oplastica/f
"""

SYMPTOM_AFFIXES = """
algia | algia/f | algie/f | algia/f
odynia | odinia/f | odynie/f | odinia/f
"""

HEADS = """
failure | insuficiencia/f | insuffisance/f | insufficienza/f
carcinoma | carcinoma/m | carcinome/m | carcinoma/m
abscess | absceso/m | abcès/m | ascesso/m
ulcer | úlcera/f | ulcère/m | ulcera/f
fibrosis | fibrosis/f | fibrose/f | fibrosi/f
infarction | infarto/m | infarctus/m | infarto/m
stenosis | estenosis/f | sténose/f | stenosi/f
embolism | embolia/f | embolie/f | embolia/f
thrombosis | trombosis/f | thrombose/f | trombosi/f
hypertension | hipertensión/f | hypertension/f | ipertensione/f
dysplasia | displasia/f | dysplasie/f | displasia/f
fistula | fístula/f | fistule/f | fistola/f
lymphoma | linfoma/m | lymphome/m | linfoma/m
atrophy | atrofia/f | atrophie/f | atrofia/f
ischemia | isquemia/f | ischémie/f | ischemia/f
obstruction | obstrucción/f | obstruction/f | ostruzione/f
tuberculosis | tuberculosis/f | tuberculose/f | tubercolosi/f
sarcoma | sarcoma/m | sarcome/m | sarcoma/m
hemorrhage | hemorragia/f | hémorragie/f | emorragia/f
adenoma | adenoma/m | adénome/m | adenoma/m
aneurysm | aneurisma/m | anévrisme/m | aneurisma/m
"""

ORGAN_ADJECTIVES = """
renal | renal | rénal,rénale | renale
hepatic | hepático | hépatique | epatico
gastric | gástrico | gastrique | gastrico
pulmonary | pulmonar | pulmonaire | polmonare
cardiac | cardíaco | cardiaque | cardiaco
cerebral | cerebral | cérébral,cérébrale | cerebrale
pancreatic | pancreático | pancréatique | pancreatico
splenic | esplénico | splénique | splenico
intestinal | intestinal | intestinal,intestinale | intestinale
ovarian | ovárico | ovarien,ovarienne | ovarico
uterine | uterino | utérin,utérine | uterino
prostatic | prostático | prostatique | prostatico
thyroid | tiroideo | thyroïdien,thyroïdienne | tiroideo
adrenal | suprarrenal | surrénalien,surrénalienne | surrenalico
esophageal | esofágico | œsophagien,œsophagienne | esofageo
mesenteric | mesentérico | mésentérique | mesenterico
retinal | retiniano | rétinien,rétinienne | retinico
spinal | espinal | spinal,spinale | spinale
laryngeal | laríngeo | laryngé,laryngée | laringeo
biliary | biliar | biliaire | biliare
vesical | vesical | vésical,vésicale | vescicale
cutaneous | cutáneo | cutané,cutanée | cutaneo
coronary | coronario | coronarien,coronarienne | coronarico
aortic | aórtico | aortique | aortico
"""

TUMORS = """
carcinoma | carcinoma/m | carcinome/m | carcinoma/m
squamous carcinoma | carcinoma epidermoide/m | carcinome épidermoïde/m | carcinoma squamoso/m
ductal adenocarcinoma | adenocarcinoma ductal/m | adénocarcinome canalaire/m |
  adenocarcinoma duttale/m
neuroendocrine tumor | tumor neuroendocrino/m | tumeur neuroendocrine/f |
  tumore neuroendocrino/m
cancer | cáncer/m | cancer/m | cancro/m
abscess | absceso/m | abcès/m | ascesso/m
"""

ORGANS = """
of the pancreas | de páncreas | du pancréas | del pancreas
of the lung | de pulmón | du poumon | del polmone
of the colon | de colon | du côlon | del colon
of the breast | de mama | du sein | della mammella
of the bladder | de vejiga | de la vessie | della vescica
of the stomach | de estómago | de l'estomac | dello stomaco
of the liver | de hígado | du foie | del fegato
of the esophagus | de esófago | de l'œsophage | dell'esofago
of the larynx | de laringe | du larynx | della laringe
of the kidney | de riñón | du rein | del rene
of the thyroid | de tiroides | de la thyroïde | della tiroide
of the prostate | de próstata | de la prostate | della prostata
of the skin | de piel | de la peau | della cute
of the ovary | de ovario | de l'ovaire | dell'ovaio
of the spleen | de bazo | de la rate | della milza
of the rectum | de recto | du rectum | del retto
"""

MODIFIERS = """
chronic | crónico | chronique | cronico
acute | agudo | aigu,aiguë | acuto
severe | grave | sévère | grave
recurrent | recurrente | récurrent,récurrente | ricorrente
autoimmune | autoinmune | auto-immun,auto-immune | autoimmune
congenital | congénito | congénital,congénitale | congenito
idiopathic | idiopático | idiopathique | idiopatico
bilateral | bilateral | bilatéral,bilatérale | bilaterale
necrotizing | necrosante | nécrosant,nécrosante | necrotizzante
primary | primario | primaire | primario
"""

# A drug or element alone is a Chemical; under one of the DEFICITS the whole is one Disease.
ELEMENTS = """
iron | hierro/m | fer/m | ferro/m
lithium | litio/m | lithium/m | litio/m
zinc | zinc/m | zinc/m | zinco/m
calcium | calcio/m | calcium/m | calcio/m
potassium | potasio/m | potassium/m | potassio/m
magnesium | magnesio/m | magnésium/m | magnesio/m
copper | cobre/m | cuivre/m | rame/m
iodine | yodo/m | iode/m | iodio/m
selenium | selenio/m | sélénium/m | selenio/m
sodium | sodio/m | sodium/m | sodio/m
vitamin D | vitamina D/f | vitamine D/f | vitamina D/f
vitamin B12 | vitamina B12/f | vitamine B12/f | vitamina B12/f
folic acid | ácido fólico/m | acide folique/m | acido folico/m
"""

DEFICITS = """
{} deficiency | déficit de {}/m | carence en {}/f | carenza di {}/f
{} overload | sobrecarga de {}/f | surcharge en {}/f | sovraccarico di {}/m
{} excess | exceso de {}/m | excès de {}/m | eccesso di {}/m
{} deficiency anemia | anemia por déficit de {}/f | anémie par carence en {}/f |
  anemia da carenza di {}/f
"""

EPONYMS = """
{} disease | enfermedad de {}/f | maladie de {}/f | malattia di {}/f
{} syndrome | síndrome de {}/m | syndrome de {}/m | sindrome di {}/f
"""

EPONYM_NAMES = {
    "train": "Crohn Parkinson Alzheimer Addison Cushing Sjögren Raynaud Behçet Still Paget Gaucher",
    "dev": "Turner Menkes Sheehan",
    "test": "Wilson Graves Whipple Reiter Ménière Fabry Marfan Kawasaki Huntington Castleman",
}

NAMED_DISEASES = {
    "train": """
diabetes mellitus | diabetes mellitus/f | diabète sucré/m | diabete mellito/m
asthma | asma/f | asthme/m | asma/f
psoriasis | psoriasis/f | psoriasis/m | psoriasi/f
epilepsy | epilepsia/f | épilepsie/f | epilessia/f
gout | gota/f | goutte/f | gotta/f
malaria | malaria/f | paludisme/m | malaria/f
sepsis | sepsis/f | sepsis/m | sepsi/f
pneumonia | neumonía/f | pneumonie/f | polmonite/f
depression | depresión/f | dépression/f | depressione/f
obesity | obesidad/f | obésité/f | obesità/f
cirrhosis | cirrosis/f | cirrhose/f | cirrosi/f
atrial fibrillation | fibrilación auricular/f | fibrillation auriculaire/f |
  fibrillazione atriale/f
rheumatoid arthritis | artritis reumatoide/f | polyarthrite rhumatoïde/f | artrite reumatoide/f
urinary tract infection | infección urinaria/f | infection urinaire/f | infezione urinaria/f
hypothyroidism | hipotiroidismo/m | hypothyroïdie/f | ipotiroidismo/m
leukemia | leucemia/f | leucémie/f | leucemia/f
anemia | anemia/f | anémie/f | anemia/f
hypoglycemia | hipoglucemia/f | hypoglycémie/f | ipoglicemia/f
hyperkalemia | hiperpotasemia/f | hyperkaliémie/f | iperkaliemia/f
bacteremia | bacteriemia/f | bactériémie/f | batteriemia/f
osteoporosis | osteoporosis/f | ostéoporose/f | osteoporosi/f
""",
    "dev": """
influenza | gripe/f | grippe/f | influenza/f
hypercalcemia | hipercalcemia/f | hypercalcémie/f | ipercalcemia/f
multiple sclerosis | esclerosis múltiple/f | sclérose en plaques/f | sclerosi multipla/f
""",
    "test": """
celiac disease | enfermedad celíaca/f | maladie cœliaque/f | malattia celiaca/f
hyponatremia | hiponatremia/f | hyponatrémie/f | iponatriemia/f
thalassemia | talasemia/f | thalassémie/f | talassemia/f
hyperlipidemia | hiperlipidemia/f | hyperlipidémie/f | iperlipidemia/f
hyperthyroidism | hipertiroidismo/m | hyperthyroïdie/f | ipertiroidismo/m
herpes zoster | herpes zóster/m | herpès zoster/m | herpes zoster/m
respiratory tract infection | infección respiratoria/f | infection respiratoire/f |
  infezione respiratoria/f
dementia | demencia/f | démence/f | demenza/f
""",
}

DRUG_ONSETS = "al be bri ca ce da del do es fe fla ga gla hy i je ka lo me mi ne o pa pri ro sa tel"
DRUG_MIDDLES = "ba ce dal fi go la le lor ma mi na ne no ra re ri so ta ti va ve vo xa zi zo"

DRUG_STEMS = """
pril | pril/m | pril/m | pril/m
olol | olol/m | olol/m | ololo/m
statin | statina/f | statine/f | statina/f
sartan | sartán/m | sartan/m | sartan/m
mab | mab/m | mab/m | mab/m
tinib | tinib/m | tinib/m | tinib/m
cillin | cilina/f | cilline/f | cillina/f
mycin | micina/f | mycine/f | micina/f
conazole | conazol/m | conazole/m | conazolo/m
floxacin | floxacino/m | floxacine/f | floxacina/f
prazole | prazol/m | prazole/m | prazolo/m
gliptin | gliptina/f | gliptine/f | gliptina/f
gliflozin | gliflozina/f | gliflozine/f | gliflozin/m
parin | parina/f | parine/f | parina/f
vir | vir/m | vir/m | vir/m
dipine | dipino/m | dipine/f | dipina/f
azepam | azepam/m | azépam/m | azepam/m
caine | caína/f | caïne/f | caina/f
setron | setrón/m | sétron/m | setron/m
triptan | triptán/m | triptan/m | triptan/m
profen | profeno/m | profène/m | profene/m
"""

SALTS = """
{} hydrochloride | clorhidrato de {}/m | chlorhydrate de {}/m | cloridrato di {}/m
{} sulfate | sulfato de {}/m | sulfate de {}/m | solfato di {}/m
{} acetate | acetato de {}/m | acétate de {}/m | acetato di {}/m
{} tartrate | tartrato de {}/m | tartrate de {}/m | tartrato di {}/m
"""

ACID = "{}ic acid | ácido {}ico/m | acide {}ique/m | acido {}ico/m"
ACID_STEMS = {
    "train": "melan bexam valdron nicotar zolepr mefan tibal",
    "dev": "ursal fusiden",
    "test": "ganap lorafan dexipr obetal salimar penar",
}

NAMED_DRUGS = {
    "train": """
aspirin | aspirina/f | aspirine/f | aspirina/f
insulin | insulina/f | insuline/f | insulina/f
morphine | morfina/f | morphine/f | morfina/f
paracetamol | paracetamol/m | paracétamol/m | paracetamolo/m
metformin | metformina/f | metformine/f | metformina/f
prednisone | prednisona/f | prednisone/f | prednisone/m
methotrexate | metotrexato/m | méthotrexate/m | metotrexato/m
furosemide | furosemida/f | furosémide/m | furosemide/f
""",
    "dev": """
caffeine | cafeína/f | caféine/f | caffeina/f
cortisone | cortisona/f | cortisone/f | cortisone/m
""",
    "test": """
warfarin | warfarina/f | warfarine/f | warfarina/f
digoxin | digoxina/f | digoxine/f | digossina/f
codeine | codeína/f | codéine/f | codeina/f
cyclosporine | ciclosporina/f | ciclosporine/f | ciclosporina/f
""",
}
