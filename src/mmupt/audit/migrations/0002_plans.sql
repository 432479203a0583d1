CREATE TABLE mmupt_audit_plans (
  project TEXT NOT NULL,
  audit TEXT NOT NULL,
  plan TEXT NOT NULL,
  PRIMARY KEY (project, audit)
);
INSERT INTO mmupt_audit_plans SELECT project, name, plan FROM mmupt_audits;
ALTER TABLE mmupt_audits DROP COLUMN plan;
