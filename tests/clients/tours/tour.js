// What the tours in JavaScript share: steps, and where the server is.
const assert = require('node:assert');

exports.host = process.env.PGHOST;
exports.port = Number(process.env.PGPORT);
exports.user = process.env.PGUSER;
exports.database = process.env.PGDATABASE;
exports.topic = process.env.TOURS_DDL || 'TOPIC';
exports.same = assert.deepStrictEqual;

exports.tour = async steps => {
    for (const [name, run] of Object.entries(steps)) {
        try {
            await run();
            console.log(`PASS ${name}`);
        } catch (error) {
            console.error(error);
            console.log(`FAIL ${name}: ${String(error.message || error).replace(/\s+/g, ' ')}`);
            // Until the runner has read that line, no error of the next step may come.
            await new Promise(resolve => setTimeout(resolve, 200));
        }
    }
    process.exit(0);
};
