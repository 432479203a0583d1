CREATE TABLE mmupt_audits (
  project TEXT NOT NULL,
  name TEXT NOT NULL,
  subject TEXT NOT NULL,
  frame TEXT NOT NULL,
  plan TEXT NOT NULL,
  created TEXT NOT NULL,
  items INTEGER NOT NULL,
  turn BIGINT NOT NULL,
  PRIMARY KEY (project, name)
);
CREATE TABLE mmupt_audit_items (
  project TEXT NOT NULL,
  audit TEXT NOT NULL,
  unit TEXT NOT NULL,
  position INTEGER NOT NULL,
  sample_id TEXT NOT NULL,
  pseudo_label TEXT NOT NULL,
  share DOUBLE PRECISION NOT NULL,
  stratum TEXT NOT NULL,
  probability DOUBLE PRECISION NOT NULL,
  slices TEXT NOT NULL,
  rules TEXT NOT NULL,
  payload TEXT NOT NULL,
  PRIMARY KEY (project, audit, unit),
  UNIQUE (project, audit, position),
  FOREIGN KEY (project, audit) REFERENCES mmupt_audits (project, name)
);
CREATE TABLE mmupt_audit_verdicts (
  project TEXT NOT NULL,
  verdict_key TEXT NOT NULL,
  audit TEXT NOT NULL,
  turn BIGINT NOT NULL,
  unit TEXT NOT NULL,
  reviewer TEXT NOT NULL,
  kind TEXT NOT NULL,
  answer TEXT,
  comment TEXT NOT NULL,
  seconds DOUBLE PRECISION NOT NULL,
  time TEXT NOT NULL,
  PRIMARY KEY (project, verdict_key),
  UNIQUE (project, audit, turn),
  FOREIGN KEY (project, audit, unit) REFERENCES mmupt_audit_items (project, audit, unit)
);
CREATE TABLE mmupt_audit_claims (
  project TEXT NOT NULL,
  audit TEXT NOT NULL,
  unit TEXT NOT NULL,
  reviewer TEXT NOT NULL,
  expires DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (project, audit, unit, reviewer),
  FOREIGN KEY (project, audit, unit) REFERENCES mmupt_audit_items (project, audit, unit)
);
