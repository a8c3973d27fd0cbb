// A real IPFS node with a Kubo-compatible RPC on loopback, offline: no peers, no discovery, no swarm.
// Usage: node --require ./js_shim.cjs js_daemon.mjs REPO PORT; prints "ready".
import { create } from 'ipfs-core'
import { HttpApi } from 'ipfs-http-server'

const [repo, port] = process.argv.slice(2)
const node = await create({
  repo,
  offline: true,
  silent: true,
  preload: { enabled: false },
  init: { emptyRepo: true, algorithm: 'Ed25519' },
  config: {
    // With an address of its own libp2p would die: it is told of no transport that could listen.
    Addresses: { Swarm: [], API: `/ip4/127.0.0.1/tcp/${port}`, Gateway: '/ip4/127.0.0.1/tcp/0', Delegates: [] },
    Bootstrap: [],
    Discovery: { MDNS: { Enabled: false }, webRTCStar: { Enabled: false } },
    Routing: { Type: 'none' }
  }
})
const api = new HttpApi(node)
await api.start()
console.log('ready')
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, async () => {
    await api.stop()
    await node.stop()
    process.exit(0)
  })
}
