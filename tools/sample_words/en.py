"""English: words that are never entities, the frames of each split, and the corpus sentences.

In a frame `{D}` is a disease, `{DA}` one with its abbreviation, `{AB}` an abbreviation, `{C}` a
drug, `{E}` an element given as a drug, `{e}` the same word where it is no drug; lower-case slots
are WORDS. `{a|b}` chooses, `<m|f>` follows the patient's gender, `{#a-b}` is a number. `{=}`
repeats the noun before it. An indented line continues the one above.
"""

DECIMAL = "."

ABBREVIATIONS = {
    "train": "HTN DM2 COPD CKD AF CHF GERD UTI",
    "dev": "TB RA SLE",
    "test": "MS CAD PVD IBS OSA PCOS NAFLD",
}

WORDS = {
    "s": """headache; abdominal pain; nausea; vomiting; shortness of breath; fever; dizziness;
        fatigue; night sweats; weight loss; chest pain; productive cough; blurred vision; pruritus;
        palpitations; loss of appetite; back pain; pallor; ankle swelling; tingling in both hands;
        muscle weakness; sore throat; difficulty swallowing; hoarseness; constipation;
        drowsiness""",
    "o": """liver; spleen; left kidney; right lung; stomach; thyroid gland; pancreas; aorta;
        left ventricle; bladder; gallbladder; lower leg; cervical spine; abdominal wall; colon;
        skin of the trunk; right eye; small intestine; knee; hip; optic nerve; femoral artery""",
    "f": """renal function; gastric mucosa; cerebral perfusion; pulmonary auscultation; liver size;
        cardiac rhythm; thyroid uptake; hepatic echogenicity; biliary tree; spinal cord; skin color;
        muscle tone; splenic contour; uterine cavity; coronary flow; bowel transit;
        pancreatic duct; aortic root; laryngeal mobility""",
    "p": """chest X-ray; blood count; electrocardiogram; lumbar puncture; renal ultrasound;
        liver biopsy; brain MRI; exercise test; bone scan; urine culture; cardiac catheterization;
        physical examination; abdominal CT; spirometry; blood culture; skin test""",
    "pa": """computed tomography (CT); magnetic resonance imaging (MRI); electroencephalogram (EEG);
        positron emission tomography (PET); endoscopic ultrasound (EUS)""",
    "pb": """ejection fraction (EF); body mass index (BMI); erythrocyte sedimentation rate (ESR);
        blood pressure (BP); forced vital capacity (FVC); heart rate (HR)""",
    "xb": "CT; MRI; ICU; ECG; BP; CRP; ER; BMI; EEG; WBC",
    "t": """three days earlier; last week; in March; in 2019; during the night; in the spring;
        two weeks after surgery; at the age of 40; after a trip to Kenya; on the fourth day""",
    "td": """since childhood; for two months; over the past year; since January;
        for about ten years; for three days; since last summer""",
    "q": """once daily; twice daily; every eight hours; at night; before meals; once a week;
        with breakfast; as needed; for seven days; for three months""",
    "r": "orally; intravenously; subcutaneously; by mouth; intramuscularly; by slow infusion",
    "dose": "5 mg; 10 mg; 20 mg; 40 mg; 50 mg; 100 mg; 250 mg; 500 mg; 1 g; 2 mg/kg; 75 mcg",
    "dr": "Dr. Harlow; Dr. Okafor; Dr. Lindqvist; Dr. Moreau; Dr. Whitfield; Dr. Tanaka; Dr. Ellis",
    "h": """Northgate Hospital; Saint Brendan Clinic; Riverside Medical Center; Ashdown Infirmary;
        the Emergency Department; the Department of Surgery; Queen Maud Hospital""",
    "city": "Bristol; Dublin; Toronto; Leeds; Boston; Auckland; Denver; Perth",
    "fam": "father; mother; brother; sister; grandmother; aunt; uncle; cousin",
    "sc": "Glasgow score; Apgar score; Barthel index; Child-Pugh score; Karnofsky index",
    "sg": "Murphy sign; Babinski sign; Romberg test; Lasegue sign; Kernig sign",
    "dv": "Foley catheter; Swan-Ganz catheter; Holter monitor; Hickman line",
    "job": "nurse; teacher; farmer; driver; baker; retired miner; student; shop assistant; cook",
    "bug": """Escherichia coli; Staphylococcus aureus; Candida albicans; Klebsiella oxytoca;
        Proteus mirabilis""",
    "lab": """hemoglobin {#.8-16} g/dL; creatinine {#.1-4} mg/dL; platelets {#90-420} x 10^9/L;
        glucose {#60-310} mg/dL; CRP {#2-190} mg/L; albumin {#.2-5} g/dL; bilirubin {#.1-9} mg/dL;
        leukocytes {#3-22} x 10^9/L; ferritin {#5-600} ng/mL; TSH {#.1-9} mIU/L""",
    "noun": "tablet; capsule; solution for injection; oral suspension; powder; film-coated tablet",
}

FRAMES = {
    "train": """
A {#20-79}-year-old <man|woman> with a history of {D} and {D} was {admitted|referred} {t} {for|with}
  {s} and {s}.
The patient was diagnosed with {D} {t} and {has been|was} treated with {C} {dose} {q}.
Past medical history: {AB} {AB}, {D}, {p} {t}.
Past history of {AB}, {AB} and {D}; no known allergies.
<He|She> {takes|was taking} {C} {dose}, {C} and {C} {dose} {q}.
Current medication: {C} {dose} {C} {dose} {q}, {C} {dose}.
Home treatment: {C} {C} {dose} and {E} {q}.
The {p} showed {D} of the {o} without involvement of the {o}.
{C} was {started|stopped} {t} because of {D}.
<His|Her> {fam} {had|died of} {D} and <his|her> aunt has {D}.
<He|She> denies {s}, {s} or {s}.
The {p} was normal and the {o} was unremarkable.
Laboratory tests: {lab}, {lab}, serum {e} {#20-150} mcg/dL, {lab}.
Serum {e} was {#20-150} mcg/dL and {lab}.
{E} supplements were given {r} to correct the {D}.
The {e} battery of the pacemaker was replaced at {h} {t}.
A {e} plate was removed from the {o} by {dr}.
{DA} is a {frequent|rare} cause of {s} in adults.
He was followed at {h} in {city} for {DA}, treated with {C}.
{D} induced by {C} was suspected, so the drug was replaced by {C}.
After {#2-9} days of {C} {dose} {r}, the {s} {improved|disappeared}.
{dr} from {h} {requested|reviewed} the {p} and the {pa}.
The {pa} ruled out {D} and {D}.
There was no evidence of {D} on the {xb}.
{f.the} was preserved and the {sc} was {#1-15}.
The patient, a {job} from {city}, reported {s} {td}.
Culture grew {bug}, so {C} was added to {C}.
We report a case of {D} {associated with|secondary to} {D} in a {#20-79}-year-old <man|woman>.
{C} is contraindicated in patients with {D}.
{D} and {D} were {confirmed|excluded} by {pa}.
Differential diagnosis included {D}, {D} and {D}.
A dose of {C} {dose} {r} controlled the {s} but {D} {persisted|recurred}.
<He|She> underwent {px} {t} at {h}, with no complications.
The pain in the {o} radiated to the {o} and was accompanied by {s}.
Allergy to {C} and {C}; intolerance to {E}.
{px} and {p} were scheduled before discharge.
Treatment of the {D} consisted of {C} combined with {C}.
The patient had {sx} and {s}, but {f.the} was normal.
The {sg} was negative and the {dv} was changed {t}.
The {pb} was recorded {t} and {lab}.
The {e} content of the water in {city} was measured {t}.
The patient developed {D} while taking {C} and {C}.
{D}.
{D} (since {#2001-2020}), {D}, {AB}.
{C} {dose}; {E} {dose} {q}; {C}.
Rule out {D} versus {D}.
Now on {C} against {D}, with {s}.
{C} or {C} can be used in {D}, but not {E}.
When {D} was discovered, {C} was withdrawn and {f.the} checked.
Still has {s}; {xb} pending; {o} normal.
{AB}? {D}? To be studied with {pa}.
Free of {D} after {C} and {px}.
Mild {s} under {C}; no {D} found.
Asked {dr} about {C}, {D} and {s}.
Neither {D} nor {D} explains the {s}.
In {city}, {D} is less common than {D}.
Thanks to {C}, {D} did not return {t}.
Intolerant of {C}; {C} refused; {D} untreated.
Sample of the {o} sent to {h}; {f} to be reviewed.
Works as a {job}, no {s}, {D} ({AB}?) improving.
""",
    "dev": """
In {city}, {dr} saw a <boy|girl> with {D} whose {fam} also had {D}.
{AB} and {D} diagnosed {t}; on {C} {dose} {q} and {C}.
Despite {C} {dose} {r}, she went on to develop {D}.
Nothing abnormal was found in the {o} on {pa}.
The probe, made of {e} and plastic, was fixed to the {o}.
The {xb} and {p} suggested {DA} rather than {D}.
Plan: {C} {dose}, {E} {dose}, {p} and review of {f}.
Complains of {s} and {sx} {td}, relieved by {C}.
Urine {e} {#20-150} mmol/L, {lab}.
""",
    "test": """
Known {D}, on {C} {dose} {q} and {C} {dose} at bedtime.
Discharge diagnoses: 1) {D}; 2) {D}; 3) {AB}.
Background: {AB} {AB} {AB}, previous {px} in {city}.
Given the suspicion of {D}, {dr} decided to withdraw {C} and give {C} {r}.
Nobody in the family suffers from {D}, although her {fam} takes {C} for {D}.
On arrival at {h} the <man|woman> complained of {s}, {sx} and {s}; the {sc} was {#3-15}.
Biopsy of the {o} was consistent with {D}.
Both {C} and {C} may worsen {D}.
Results: {e} {#20-150} mmol/L, {lab}; {f} within limits.
A stent with a {e} coating was placed in the {o} after {p}.
Oral {E} was prescribed because {D} had been found {t}.
Complications such as {D}, {D} or {D} are uncommon with {C}.
Cured of {D}, he returned to work as a {job} {t}.
Progress: {D} under control with {C}; {s} still present.
Follow-up {pa} showed that the {DA} had not progressed.
The combination {C} plus {C} was well tolerated in {DA}.
No change in {pb} since discharge; {lab}.
Neither {s} nor {s} was noted, and the {o} felt soft on palpation.
Since {C} can cause {D}, {f} and {xb} must be checked {q}.
Isolated {bug} in the sample taken from the {o} in {city} {t}.
Regimen on discharge: {C} {C} {dose}, then {C} {q}.
A young {job} with long-standing {D} came to {h} complaining of {sx}.
Surgeons at {h} performed {px} for {D}, followed by {C} {dose}.
What was thought to be {D} turned out to be {D} ({AB} excluded).
Scan of the {o}: no lesions; {xb} normal; {p} pending.
""",
}

CORPUS = {
    "note": """
Reason for admission: {s} and {s} {td}.
On examination the patient was {alert|pale|drowsy} and {well hydrated|in moderate distress}, blood
  pressure {#95-180}/{#50-100} mmHg, heart rate {#55-130} beats per minute, temperature
  {#36-39}.{#0-9} °C.
The abdomen was {soft|tender}; the {o} could {not |}be felt.
Blood tests showed {lab}, {lab} and {lab}.
The {p} revealed {D} and {f.the} was {normal|reduced|preserved}.
He was started on {C} {dose} {r} {q}, with good response.
On the {second|third|fifth} day {s} {appeared|disappeared} and {C} was {reduced|increased} to
  {dose}.
Discharged home with {C} {dose} {q}; follow-up at {h} in {#2-12} weeks.
Diagnosis: {D}; {D}.
The patient lives with a {fam}, works as a {job} and {does not smoke|smokes {#5-30} cigarettes a
  day}.
No allergies are known, except a rash after {C}.
Neurological examination: strength and sensation intact, {sc} normal.
""",
    "case": """
{D} is an uncommon {condition|disorder} that {usually|often} begins with {s} and {s}.
We describe a {#20-79}-year-old <man|woman>, a {job} from {city}, who consulted {t} for {s}
  present {td}.
<His|Her> {fam} had suffered from {D}, and <he|she> had taken {C} {td}.
The initial suspicion was {D}, but the {p} and the {pa} suggested {D}.
Histology of the {o} confirmed the diagnosis of {D}.
Treatment with {C} {dose} {q} was begun, and {C} was added when {s} {recurred|worsened}.
A {px} was performed {t} without complications.
After {#3-24} months the patient remains free of symptoms, with {lab}.
To our knowledge, few cases of {D} associated with {D} have been published.
This case shows that {D} should be considered in any patient with {s} and {sx}.
The prognosis depends on the extent of the {D} and on the response to {C}.
""",
    "leaflet": """
What {C} is and what it is used for: {=} is a medicine used to treat {D} and {D}.
Do not take {C} if you are allergic to {C} or if you have {D}.
Talk to your doctor or pharmacist before taking this medicine if you suffer from {D}.
Tell your doctor if you are taking {C}, {C} or {E}, because the dose may have to be changed.
The usual dose is {dose} {q}. Swallow the {noun} with a glass of water.
If you forget a dose, take it as soon as you remember, unless it is time for the next one.
Common side effects: {s}, {s} and {s}. They may affect up to 1 in 10 people.
Rare side effects: {D}, {s} and {sx}.
This medicine is not recommended during pregnancy, especially in women with {D}.
Do not drive if you notice {s} or {s} after taking the {noun}.
Store below 25 °C, out of the sight and reach of children, and do not use it after the expiry date.
Each {noun} contains {dose} of {C}.
Elderly patients and patients with {D} should start with {dose} {q}.
""",
    "info": """
What is {D}? It is a disease that affects the {o} and may cause {s}.
The first signs of {D} are {s}, {s} and, less often, {sx}.
Your doctor will ask about your symptoms and may order a {p} or a {pa}.
{D} is more frequent in people with {D} or with a {fam} who has the disease.
There is no cure for {D}, but {C} {helps to relieve the {s}|slows it down}.
Some people need surgery, for example a {px}.
Eat a varied diet, drink enough water and walk for at least {#20-60} minutes a day.
Go to the emergency department if you notice {s} or {s}.
Children and older people with {D} should be vaccinated every year.
Do not stop taking {C} without asking your doctor, even if you feel better.
If it is not treated, {D} can damage the {o} and lead to {D}.
A balanced diet contains enough {E}; supplements are needed only in case of {D}.
""",
}
