// A SCIM server on SCIMMY, accounts in memory: node server.mjs --port 0 --token TOKEN
// Prints {"port": N} on stdout when it is ready. GET /__store: the accounts as stored. GET /__requests: what was asked.
//
// Express 4 on purpose: scimmy-routers turns startIndex and count into numbers by changing request.query, which
// Express 5 makes anew at each look. There every page would be the first 20 accounts.
//
// Manners of SCIMMY that differ from RFC 7644, left as they are because scimpipe has to live with them:
// - a page beyond the end repeats the first one, instead of being empty (3.4.2.4)
// - without `count` a page has 20 accounts, and itemsPerPage says what was asked for, not what was given
// - `eq` compares letter case also for userName, which RFC 7643 4.1.1 calls case-insensitive: a name can be taken
//   (409) and yet not be found
// - a quote within a filter value, escaped as RFC 7644 3.4.2.2 wants it, is 400 invalidFilter; other filters that cannot
//   be parsed are 500
// - PATCH of emails[type eq "work"].value is 400 noTarget, for add as for replace, when there is no such e-mail (3.5.2.1)
// - PATCH answers 200 with the account, but 204 when nothing changed
// - `location` has no host, there is no ETag in meta, and 401 has no WWW-Authenticate
// - attributes of no schema are dropped without a word
import crypto from "node:crypto";
import express from "express";
import SCIMMY from "scimmy";
import SCIMMYRouters from "scimmy-routers";

const option = (name, fallback) => {
    const at = process.argv.indexOf(`--${name}`);
    return at < 0 ? fallback : process.argv[at + 1];
};
const token = option("token");
if (!token) {
    console.error("usage: node server.mjs [--port 0] --token TOKEN");
    process.exit(2);
}

const users = new Map();
const requests = [];

const stored = (id) => {
    if (!users.has(id)) throw new SCIMMY.Types.Error(404, null, `Resource ${id} not found`);
    return users.get(id);
};
const taken = (id, userName) =>
    [...users.values()].some((user) => user.id !== id && user.userName.toLowerCase() === userName.toLowerCase());

SCIMMY.Resources.declare(SCIMMY.Resources.User)
    .extend(SCIMMY.Schemas.EnterpriseUser, false)
    // POST has no resource.id. PUT and PATCH have one, and bring the whole account.
    .ingress((resource, data) => {
        const before = resource.id ? stored(resource.id) : undefined;
        const id = before?.id ?? crypto.randomUUID();
        if (taken(id, data.userName)) throw new SCIMMY.Types.Error(409, "uniqueness", "userName is taken");
        const now = new Date().toISOString();
        // A copy without the getters of SCIMMY's schema objects, which are frozen to this request.
        const plain = JSON.parse(JSON.stringify(data));
        users.set(id, { ...plain, id, meta: { created: before?.meta.created ?? now, lastModified: now } });
        return users.get(id);
    })
    .egress((resource) => {
        if (resource.id) return stored(resource.id);
        const all = [...users.values()];
        return resource.filter ? resource.filter.match(all) : all;
    })
    .degress((resource) => {
        users.delete(stored(resource.id).id);
    });

const app = express();
app.get("/__store", (_, response) => response.json([...users.values()]));
app.get("/__requests", (_, response) => response.json(requests));
app.use((request, _, next) => {
    // No query: a filter holds names and addresses.
    requests.push({ method: request.method, path: request.path });
    next();
});
app.use("/scim/v2", new SCIMMYRouters({
    type: "bearer",
    handler: (request) => {
        if (request.header("Authorization") !== `Bearer ${token}`) throw new Error("not authorised");
        return "scimpipe";
    },
}));
const server = app.listen(Number(option("port", "0")), "127.0.0.1", () => {
    console.log(JSON.stringify({ port: server.address().port }));
});
