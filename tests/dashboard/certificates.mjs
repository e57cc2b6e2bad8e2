// Certificates for endpoints, of an authority made for one run; of any span of time, which openssl gives to its own
// authorities alone.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const SETTINGS = `[ca]
default_ca = here
[here]
database = index
new_certs_dir = .
default_md = sha256
rand_serial = yes
copy_extensions = copy
policy = any
[any]
commonName = supplied
`;

export class Authority {
  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), "sw-"));
    writeFileSync(join(this.directory, "ca.conf"), SETTINGS);
    writeFileSync(join(this.directory, "index"), "");
    this.openssl("req", "-x509", ...this.key("ca"), "-subj", "/CN=Tests", "-days", "2", "-out", "ca.pem");
    /** The file of its own certificate. */
    this.file = join(this.directory, "ca.pem");
  }

  openssl(...words) {
    execFileSync("openssl", words, { cwd: this.directory, stdio: ["ignore", "ignore", "pipe"] });
  }

  key(name) {
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", `${name}.key`];
  }

  /** Key and certificate for those hosts, from and until then (`20200101000000Z`). */
  issue(hosts, from, until) {
    const [name] = hosts;
    const names = hosts.map((host) => `DNS:${host}`).join();
    this.openssl("req", "-new", ...this.key(name), "-subj", `/CN=${name}`, "-addext", `subjectAltName=${names}`, "-out", `${name}.request`);
    const span = ["-startdate", from, "-enddate", until];
    const signed = ["-cert", "ca.pem", "-keyfile", "ca.key", "-in", `${name}.request`, "-out", `${name}.pem`];
    this.openssl("ca", "-config", "ca.conf", "-batch", "-notext", ...span, ...signed);
    const [key, cert] = ["key", "pem"].map((kind) => readFileSync(join(this.directory, `${name}.${kind}`)));
    return { key, cert };
  }

  remove() {
    rmSync(this.directory, { recursive: true, force: true });
  }
}
