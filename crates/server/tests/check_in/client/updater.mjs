// The JavaScript updater's habits: fetch with its defaults, a length that must be there, a boolean in the report.
// Usage: node updater.mjs ENDPOINT TOKEN ID PRODUCT VERSION APPLY [NAME=VALUE...]
import {execFileSync} from 'node:child_process'
import {createHash, timingSafeEqual} from 'node:crypto'
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs'
import {tmpdir} from 'node:os'
import {join} from 'node:path'

const BYTES_MAX = 100 * 1024 * 1024
const [endpoint, token, id, product, version, apply, ...properties] = process.argv.slice(2)

function say(path, body) {
    const headers = {Authorization: token, 'Content-Type': 'application/json'}
    return fetch(endpoint + path, {method: 'POST', headers, body: JSON.stringify(body)})
}

async function download(url, file) {
    const response = await fetch(url)
    if (!response.ok) throw new Error(`Failed to download update: ${response.status}`)
    const length = parseInt(response.headers.get('content-length') ?? '', 10)
    if (!(length >= 0 && length <= BYTES_MAX)) throw new Error('Invalid Content-Length')
    const image = Buffer.from(await response.arrayBuffer())
    writeFileSync(file, image, {flag: 'wx', mode: 0o600})
    return createHash('sha256').update(image).digest('hex')
}

const folder = mkdtempSync(join(tmpdir(), 'updater-'))
try {
    const words = {id, product, version, ...Object.fromEntries(properties.map((property) => property.split('=')))}
    const response = await say('/tok/provision/update', words)
    if (!response.ok) throw new Error(`Cannot fetch update: ${response.status}`)
    const text = await response.text()
    const offer = text.trim() === '' ? {} : JSON.parse(text)
    if (!offer.url) {
        console.log('none')
    } else {
        if (!offer.checksum || !offer.update || !offer.version) throw new Error('Incomplete update response')
        if (!offer.url.startsWith('https://')) throw new Error('Insecure download URL')
        const file = join(folder, 'update.bin')
        const sum = await download(offer.url, file)
        if (sum.length !== offer.checksum.length || !timingSafeEqual(Buffer.from(sum), Buffer.from(offer.checksum))) {
            throw new Error('Checksum does not match')
        }
        let success = true
        try {
            execFileSync(apply, [file])
        } catch {
            success = false
        }
        const report = await say('/tok/provision/updateReport', {success, id, update: offer.update})
        if (!report.ok) throw new Error(`Cannot post update report: ${report.status}`)
        console.log(`updated ${offer.version}`)
    }
} catch (error) {
    console.error(error.message)
    process.exitCode = 2
} finally {
    rmSync(folder, {recursive: true})
}
